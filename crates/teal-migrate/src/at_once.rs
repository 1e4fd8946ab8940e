use std::panic::resume_unwind;
use std::thread;

/// Does two things at the same time. A panic of either is one of the caller's.
pub(crate) fn at_once<A, B: Send>(
    one: impl FnOnce() -> A,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        let one = one();
        (one, other.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}
