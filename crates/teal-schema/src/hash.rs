/// A hash of 128 bits of these expressions, as an expression: two functions of 64 bits side by side. `xxh3_128` takes
/// less, and is not there before 26.2; `sipHash128` takes several times as long (26.7).
///
/// The tuple matters: without it a single NULL makes the hash NULL, which no sum counts (26.7).
///
/// ```
/// assert_eq!(
///     teal_schema::hash_128("a, b"),
///     "bitOr(bitShiftLeft(toUInt128(xxh3(tuple(a, b))), 64), cityHash64(tuple(a, b)))"
/// );
/// ```
pub fn hash_128(items: &str) -> String {
    format!("bitOr(bitShiftLeft(toUInt128(xxh3(tuple({items}))), 64), cityHash64(tuple({items})))")
}
