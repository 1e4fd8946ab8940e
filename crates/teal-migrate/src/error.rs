use std::time::Duration;

use jiff::Timestamp;
use teal_catalog::{QueryTreeError, Use};
use teal_client::ClientError;
use teal_plan::Drift;
use teal_schema::{QualifiedName, TokenError};

use crate::{JournalError, LockError, Parity, PhaseName, RequestError};

#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    QueryTree(#[from] QueryTreeError),
    #[error("cannot read the SQL of a table or a view: {0}")]
    UnreadableSql(#[from] TokenError),

    #[error(
        "{blue} has {mutations} mutation(s) under way ({first}); views do not forward them, so the migration waits for their end: try again then, or `KILL MUTATION`"
    )]
    MutationsRunning { blue: QualifiedName, mutations: usize, first: String },
    #[error(
        "the cut could not be made in {} s: each time, INSERTs ran longer than {} s, and it waited for {reason}; what was begun of it is undone. Try again when those long INSERTs are over, or allow more time (`fence_timeout` in teal.toml)",
        .waited.as_secs(),
        .patience.as_secs_f64()
    )]
    FenceTimeout { waited: Duration, patience: Duration, reason: String },
    /// A cut on a server that cannot be trusted; it is undone and tried again.
    #[error("the cut waits for {reason}")]
    NotClean { reason: String },
    #[error(
        "no clean cut was possible in {} s: it waited for {reason}. No row was lost; try again later, or allow more time (`fence_timeout` in teal.toml)",
        .waited.as_secs()
    )]
    NoCleanCut { waited: Duration, reason: String },
    #[error(
        "there is no sample of {blue} and {green}: they have no partitions in common, and {green} folds rows, or no column that it is sorted by is of numbers, times or texts. Verify them as a whole"
    )]
    NoSample { blue: QualifiedName, green: QualifiedName },
    #[error(
        "an UPDATE of {table} lies in a patch that is not applied to its parts, and that no clone takes along; nothing is lost. `ALTER TABLE {table} APPLY PATCHES`, and run the command again"
    )]
    PatchesUnapplied { table: QualifiedName },
    #[error("INSERTs cannot be held on a server")]
    NoWriteGate,
    #[error(
        "the exchange has happened, and {live} has the {layout} layout; what still runs writes to the old table, and is carried over when it has ended: teal waited for {reason}. Run the command again then"
    )]
    ExchangeOpen { live: QualifiedName, layout: &'static str, reason: String },
    #[error(
        "the engine of {green} folds rows by the order in which they come, and on a server INSERTs that run across an exchange are carried over after others: move by `teal cutover --by app`"
    )]
    FoldsAcross { green: QualifiedName },
    #[error(
        "the engine of {green} adds rows up, and on a server only part_log (with table_uuid) tells which of them an exchange has to carry over: {}; or move by `teal cutover --by app`",
        teal_plan::ENABLE_PART_LOG
    )]
    FoldsUntold { green: QualifiedName },
    #[error(
        "there is a view {view} already, which this migration did not attach; drop it, and run the command again"
    )]
    ViewExists { view: QualifiedName },
    #[error("{green} has {rows} rows that this migration did not bring there; empty it, or abort")]
    GreenNotEmpty { green: QualifiedName, rows: u64 },
    #[error(
        "somebody has made the table that the migration is to make, in another way; nothing is lost\n{}\n  instead: drop it and run the command again, or `teal abort`",
        indented(.other)
    )]
    OtherGreen { other: Vec<Drift> },
    #[error(
        "the snapshot of blue has changed while it was read: {expected} parts of chunk {chunk} expected in {snapshot}, {found} found; nothing of the chunk was published. What has been copied is no part of a whole any more: `teal abort`, and `teal apply` once more"
    )]
    SnapshotChanged { snapshot: QualifiedName, chunk: u32, expected: usize, found: usize },
    #[error(
        "the snapshot {snapshot} is not as it was when the copy began: somebody has merged, changed or dropped its parts, so that it is not known what is still to be copied. Blue is as it was: `teal abort`, and `teal apply` once more"
    )]
    SnapshotLost { snapshot: QualifiedName },
    #[error(
        "{green} folds its rows, and INSERTs cannot be held here, so it cannot be told row by row what is missing: `teal abort`, and `teal apply` once more"
    )]
    CannotRepair { green: QualifiedName },
    #[error(
        "{green} has {rows} rows that {blue} lacks: somebody wrote them there while the cut was open\n{}\n  the view is dropped, and nothing is lost. Copy them to {blue} (INSERT INTO … SELECT) or delete them from {green}, and run the command again; `teal abort --force` drops them",
        indented_text(.shown)
    )]
    WrittenToGreen {
        blue: QualifiedName,
        green: QualifiedName,
        rows: u64,
        /// Some of them.
        shown: Box<str>,
    },
    #[error(
        "the cut that was left open is not undone yet: before {green} is emptied, {rows} rows of {green} and {blue} are looked at, whether {blue} lacks any, which is left to a command on this migration (`teal apply`; or `teal abort`, which with --force does without the look)"
    )]
    LongLook { blue: QualifiedName, green: QualifiedName, rows: u64 },
    #[error("the server gave {text:?} as {what}")]
    Unreadable { what: &'static str, text: String },
    #[error(
        "{blue} and {green} do not hold the same rows\n{parity}\n  `teal repair` copies what is missing, and removes what is too many where it is known how {blue} lost it; after a cutover by app or alias whose view was turned, `teal cutover` carries to each what only the other one has, if neither was changed in place. Where {green} folds rows, none can be removed: before a cutover, `teal abort`, and `teal apply` once more"
    )]
    NoParity { blue: QualifiedName, green: QualifiedName, parity: Box<Parity> },
    #[error(
        "{blue} was changed in place since {green} was last in step with it ({change}), and {green} has states of which only the result and the size can be compared: whether it lacks that change cannot be told\n  instead: `teal abort`, and `teal apply` once more"
    )]
    StatesUntold { blue: QualifiedName, green: QualifiedName, change: Box<str> },
    #[error(
        "the row policy {policy} hides rows from teal's user, so that nothing can be proven; nothing is lost. Exempt the user (ALTER ROW POLICY {policy} TO ALL EXCEPT …), and run the command again"
    )]
    RowsHidden { policy: String },
    #[error(
        "{says}\n  {new} has another value there; nothing is lost while {old} is there. Change or delete those rows in {old}, and run the command again; or give up the new type: `teal abort`, after a cutover `teal rollback` first"
    )]
    ValuesLost { old: QualifiedName, new: QualifiedName, says: Box<str> },
    #[error(
        "{blue} and {green} do not hold the same rows\n{parity}\n  nothing was removed of {reason}. If somebody writes to {green}, `teal rollback` brings those rows to {blue}; `teal repair --drop-extra` removes them"
    )]
    Unexplained {
        blue: QualifiedName,
        green: QualifiedName,
        parity: Box<Parity>,
        /// Which rows, and why not.
        reason: Box<str>,
    },
    #[error(
        "{green} has rows that blue has not, and its engine folds rows, so that they cannot be removed one by one\n{parity}\n  instead: if somebody writes to {green}, `teal rollback` brings those rows to blue where it can; else `teal abort`, and `teal apply` once more"
    )]
    StaleFolds { green: QualifiedName, parity: Box<Parity> },
    #[error(
        "rows that blue has lost could not be removed from {green}: {reason}\n  the mutation was ended; nothing is lost. Mend the cause, and run the command again"
    )]
    RemovalFailed { green: QualifiedName, reason: String },
    #[error(
        "the change of {table} is not done: {reason}\n  nothing is lost. The server tries a mutation that fails again and again (system.mutations): mend the cause; or end it (`KILL MUTATION`), and let the model say what there was. `teal plan` does not show it, for the definition is changed already"
    )]
    AlterFailed { table: QualifiedName, reason: String },
    #[error(
        "{rows} rows that {green} lacks cannot be copied into it; nothing is lost. Mend the cause, or abort\n  {source}"
    )]
    NotCopyable { green: QualifiedName, rows: u64, source: Box<ClientError> },
    #[error(
        "a table was altered since the migration began; it stands where it was, and nothing is lost\n{}\n  instead: undo the change and run the command again; to keep it, or where ClickHouse does not let a column go that the view reads, `teal abort` and begin again",
        indented(.altered)
    )]
    Altered { altered: Vec<Drift> },
    #[error(
        "a table was altered since the migration began, so that the two cannot be compared, and rows that only the new one has would be lost unseen\n{}\n  instead: undo the change; or give up such rows, with --force",
        indented(.altered)
    )]
    AlteredBeyondCompare { altered: Vec<Drift> },
    #[error(
        "{blue} got {rows} rows since the cutover: someone still writes to it{}",
        match *.is_forwarded {
            true => format!(". Move that writer to {green}, and run `teal cutover` again, which counts from here; or --force"),
            false => format!(", and nothing forwards them: {green} may lack them. Move that writer to {green}, copy what is wanted (INSERT INTO … SELECT), and then --force"),
        }
    )]
    WrittenSinceCutover { blue: QualifiedName, green: QualifiedName, rows: u64, is_forwarded: bool },
    #[error(
        "{}, and the view goes on to forward from it to {green}. Move that writer to {green}, and run `teal cutover` again, which counts from here: if {blue} gets no rows from now on, the view is turned, where it can be, and keeps it current\n{}",
        written(.blue, *.rows),
        listed(.used)
    )]
    StillWrittenBeforeTurn {
        blue: QualifiedName,
        green: QualifiedName,
        rows: u64,
        used: Box<[Use]>,
    },
    #[error(
        "the view is being turned, to keep {blue} current (or back); nothing is lost, and rows missing from one of the tables are carried over then: teal waited for {reason}. Run the command again then"
    )]
    TurnOpen { blue: QualifiedName, reason: String },
    #[error(
        "{leaving} is about to be dropped, and the next command of any kind goes on with that: teal waited for {reason}. Run the command again then"
    )]
    RetireOpen { leaving: QualifiedName, reason: String },
    #[error(
        "{old} cannot be kept current: {reason}, and nothing has forwarded that. `teal cleanup` is possible all the same, with --force where {old} has rows that {new} lacks"
    )]
    CannotTurn { old: QualifiedName, new: QualifiedName, reason: Box<str> },
    #[error(
        "the view that reads {old} cannot be made again as it was: {reason}\n  instead: undo what was altered, and run the command again"
    )]
    NoWayBack { old: QualifiedName, reason: Box<str> },
    #[error(
        "{old} was changed in place after the last proof of parity ({change}), and {new} has {rows} rows that {old} has not: users may have deleted or changed them there. Do the same to {new}, or `teal cleanup --force`, which leaves {new} as it is"
    )]
    NewKeeps { old: QualifiedName, new: QualifiedName, change: Box<str>, rows: u64 },
    #[error("{old} has {rows} rows that {new} lacks: {reason}. `teal cleanup --force` drops them")]
    NewLacks { old: QualifiedName, new: QualifiedName, rows: u64, reason: Box<str> },
    #[error(
        "the old table is to be parked as {table}, and there is something of that name: rename it, or park for another time (--park)"
    )]
    PlaceTaken { table: QualifiedName },
    #[error(
        "the row policy {policy} is on {old}, and of that name only: readers of {parked} would see all rows. CREATE ROW POLICY {policy} ON {} as it is on {old}; or, where the cleanup has not begun, do not park (--park)",
        .parked.sql()
    )]
    ParkedOpen { old: QualifiedName, parked: QualifiedName, policy: String },
    #[error(
        "{table} is detached: it is not gone, and would be back under its name when the server is started anew. ATTACH TABLE {}, and run the command again",
        .table.sql()
    )]
    Detached { table: QualifiedName },
    #[error(
        "{old} is kept until {until} (the retention); wait, or `--retention 0s`, which leaves all other looks as they are"
    )]
    Kept { old: QualifiedName, until: Timestamp },
    #[error(
        "{old} has been used since the cutover, within the last 24 hours; move who uses it to {new}, or --force\n{}",
        listed(.used)
    )]
    UsedSinceCutover { old: QualifiedName, new: QualifiedName, used: Vec<Use> },
    #[error(
        "{table} is a table of the migration of {other} too, which is {phase}: end that one first (`teal cleanup`, `teal rollback` or `teal abort`, with {}), and run the command again",
        .other.name
    )]
    Chained { table: QualifiedName, other: QualifiedName, phase: PhaseName },
    #[error(
        "readers and writers have gone from {blue} to {live}: {green} was made from {blue}, and lacks what is written to {live}\n  instead: `teal abort {}`, and let its view read {live}; or `teal rollback {}` first",
        .green.name, .live.name
    )]
    BlueLeft { blue: QualifiedName, green: QualifiedName, live: Box<QualifiedName> },
    #[error(
        "{old} is read by {}: let them read {new} (the SELECT of a materialized view is changed in place, and misses no INSERT), or drop them; or --force, after which they read nothing",
        named(.views)
    )]
    StillViewed { old: QualifiedName, new: QualifiedName, views: Vec<QualifiedName> },
    #[error(
        "{by} writes to {old}, and what comes there after it is gone would be lost: let it write to {new} (OPTIMIZE TABLE empties a Buffer, SYSTEM FLUSH DISTRIBUTED a Distributed table), or drop it; or --force"
    )]
    StillFed { old: QualifiedName, new: QualifiedName, by: String },
    #[error(
        "{by} writes to {table} in the background, which no cut can wait for: what comes across the exchange may be in one of the tables only, or in both. Nothing was changed\n  instead: {stop}; then the same command again, and {then}"
    )]
    FedInBackground { table: QualifiedName, by: String, stop: String, then: &'static str },
    #[error(
        "{old} cannot be dropped while {} is loaded from it: nothing was changed. Let that read another table, or drop it, and run the command again",
        named(.dependents)
    )]
    StillLoaded { old: QualifiedName, dependents: Vec<QualifiedName> },
    #[error(
        "{blue} {what}, and {green} has {rows} rows that may be all that there is of it: bring {blue} back, or drop {green} yourself, and run the command again"
    )]
    LastCopy { blue: QualifiedName, what: &'static str, green: QualifiedName, rows: u64 },
    #[error(
        "the server has set parts of {kept} aside as broken (partition {partitions}; system.detached_parts), so that {leaving} may have the last copy of their rows; nothing was dropped\n  instead: copy to {kept} what it lacks (`teal verify` tells; INSERT INTO … SELECT), and then ALTER TABLE … DROP DETACHED PART; or --force, which drops {leaving} as it is"
    )]
    PartsBroken { kept: QualifiedName, leaving: QualifiedName, partitions: String },
    #[error(
        "{new} {what}, and {old} has {rows} rows that may be all that there is of it; nothing was changed\n  instead: bring {new} back (`UNDROP TABLE`, a short while after it was dropped); or let the old layout have its name, `RENAME TABLE {} TO {}`, and end the migration by `teal cleanup --force`{}",
        .old.sql(), .new.sql(),
        if *is_there { "; which also drops the old table where the new one is as it should be" } else { "" }
    )]
    NewGone {
        new: QualifiedName,
        old: QualifiedName,
        rows: u64,
        what: &'static str,
        is_there: bool,
    },
    #[error(
        "{old} has the data of the new layout: somebody has let the two names change places since the cutover, and a cleanup would drop it; nothing was changed\n  instead: `EXCHANGE TABLES {} AND {}`, and run the command again",
        .old.sql(), .new.sql()
    )]
    ChangedPlaces { old: QualifiedName, new: QualifiedName },
    #[error(
        "the materialized view {view} writes rows of the new table to {old}: with a view of teal's own that does the same, they would be there twice. Drop it, and run the command again"
    )]
    FedOtherwise { view: QualifiedName, old: QualifiedName },
    #[error(
        "the materialized view {view} reads {read}, and its SELECT does not work over the layout that this name gets; every INSERT would fail. Change or drop the view, and run the command again\n  {source}"
    )]
    ViewWouldFail { view: QualifiedName, read: QualifiedName, source: Box<ClientError> },
    #[error(
        "{green} has {rows} rows that {blue} lacks: someone writes to it. {}`teal rollback` brings them to {blue}; --force drops them",
        if *is_copied { "" } else { "When the copy has ended (`teal apply`), " }
    )]
    WouldLoseRows { blue: QualifiedName, green: QualifiedName, rows: u64, is_copied: bool },
    #[error(
        "{green} has {rows} rows that {blue} lacks: someone wrote to it since its abort began. Copy them to {blue} (INSERT INTO … SELECT; no view forwards them any more), and run `teal abort` again; --force drops them"
    )]
    LateRows { blue: QualifiedName, green: QualifiedName, rows: u64 },
    #[error(
        "{green} has {rows} folded rows that are others in {blue}: it may have missed some, or someone may write to it, which folded rows do not tell. --force drops {green}; {blue} stays as it is"
    )]
    FoldsDiffer { blue: QualifiedName, green: QualifiedName, rows: u64 },
    #[error(
        "{new} has {rows} rows that {old} lacks and that cannot be carried back, since the SELECT changes rows, the engine folds them, or the old types do not hold them. With --force, {old} comes back without them; they stay in {new}"
    )]
    CannotCarryBack { old: QualifiedName, new: QualifiedName, rows: u64 },
    #[error(
        "{new} was changed in place since the cutover ({change}), and nothing has forwarded that to the old table. With --force, the old table comes back as it is: without this change, and without the rows that only {new} has"
    )]
    ChangedSince { new: QualifiedName, change: Box<str> },
    #[error(
        "{old} has {missing} rows that {new} lacks, and {new} has {extra} rows that {old} lacks: {reason}. Carried back, such rows might be there twice, and deleted ones are there again. With --force, {old} comes back as it is, without what only {new} has"
    )]
    RowsNotTold {
        old: QualifiedName,
        new: Box<QualifiedName>,
        missing: u64,
        extra: u64,
        reason: Box<str>,
    },
    #[error(
        "{old} was changed in place since the two were last in step ({change}), and {new} has {rows} rows that it lacks: carried back, a deleted row would be there again, and a changed one beside its former self. Copy to {old} yourself what was written to {new} only (INSERT INTO … SELECT); `teal rollback --force` carries nothing, and `teal repair --drop-extra` then makes {new} as {old} is"
    )]
    OldChanged { old: QualifiedName, new: QualifiedName, change: Box<str>, rows: u64 },
    #[error(
        "{old} has no rows of partition {partition}, of which {new} has some: without a log of parts that reaches back to the last look, teal cannot tell whether they were dropped there or written to {new} alone\n  if they were dropped: `teal repair --drop-extra` removes them from {new}\n  if they are to stay: copy them to {old} (INSERT INTO … SELECT, which the view forwards), and then `teal repair --drop-extra`, which removes what {new} has twice; not `teal rollback`, which would bring it to {old}"
    )]
    PartitionsUntold { old: QualifiedName, new: QualifiedName, partition: Box<str> },
    #[error(
        "{old} was changed in the moment of the cutover ({change}), and {new} lacks that change\n{parity}\n  instead: do the same to {new}, and run the command again; or bring {old} back as it is, with that change: `teal rollback --force`"
    )]
    MissedChange { old: QualifiedName, new: QualifiedName, change: Box<str>, parity: Box<Parity> },
    #[error(
        "the migration of {green} was aborted: {by} asked for it. Its green table is gone, and blue is as it was"
    )]
    AbortedOnRequest { green: QualifiedName, by: String },
    #[error(
        "teal was asked to end. What was done stays, and nothing is lost: the same command goes on from there, and `teal abort` gives up a migration that has begun"
    )]
    Interrupted,
    /// On its way to [`AbortedOnRequest`](Self::AbortedOnRequest), when the workers have ended.
    #[error("{by} asked for an abort")]
    AbortAsked { by: String, force: bool },
    #[error("migration {migration} is {phase}; {wanted}")]
    WrongPhase { migration: String, phase: PhaseName, wanted: &'static str },
    #[error(
        "the models of {green} have changed since its migration began
  began with: {began}
  now: {now}
  instead: bring the models back to what they were, let the migration end, and declare the change as a further version"
    )]
    ModelsChanged { green: QualifiedName, began: String, now: String },
    #[error(
        "the target is not as the plan found it; nothing was changed\n{}\n  instead: make a new plan",
        indented(.drift)
    )]
    Drift { drift: Vec<Drift> },
    #[error(
        "the new layout gets the name {table}, which readers and writers know, so it can only be exchanged: `teal cutover --by exchange`"
    )]
    NoSuchCutover { table: QualifiedName },
    #[error("{alias} cannot be swapped to {green}: {reason}")]
    NoAlias { alias: QualifiedName, green: QualifiedName, reason: &'static str },
    #[error(
        "{alias} is an alias of {to} now; an INSERT that began before may still write to the other table by it: teal waited for {reason}. Run the command again then"
    )]
    AliasOpen { alias: QualifiedName, to: QualifiedName, reason: String },
    #[error(
        "{old} is what readers and writers use again; whether all is carried to it that was written to {new} until then is not known yet: teal waited for {reason}. Run the command again then"
    )]
    RestOpen { old: QualifiedName, new: QualifiedName, reason: String },
}

impl MigrateError {
    /// Whether it is the server's own answer: what was sent has ended.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::Client(error) | Self::Journal(JournalError::Client(error)) => {
                error.server_name().is_some()
            }
            _ => false,
        }
    }

    /// Whether something was sent, and what became of it is not known.
    pub(crate) fn is_silence(&self) -> bool {
        let is_sent = matches!(self, Self::Client(_) | Self::Journal(JournalError::Client(_)));
        is_sent && !self.is_answer()
    }

    /// Whether others are free of it: a refusal, or what the server has against the objects of one migration.
    pub(crate) fn is_of_one_migration(&self) -> bool {
        match self {
            Self::Lock(_) | Self::Journal(_) => false,
            Self::Client(error) => error.server_name().is_some(),
            other => other.is_refusal(),
        }
    }

    /// Whether teal could go on and will not, for the sake of the data.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Client(error)
            | Self::Request(RequestError::Client(error))
            | Self::QueryTree(QueryTreeError::Client(error)) => error.is_refusal(),
            Self::Lock(error) => error.is_refusal(),
            Self::Journal(error) => error.is_refusal(),
            Self::Request(_)
            | Self::QueryTree(_)
            | Self::UnreadableSql(_)
            | Self::Unreadable { .. }
            | Self::RemovalFailed { .. }
            | Self::AlterFailed { .. }
            | Self::NotCopyable { .. }
            | Self::Interrupted => false,
            _ => true,
        }
    }
}

fn named(names: &[QualifiedName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn written(blue: &QualifiedName, rows: u64) -> String {
    match rows {
        0 => format!(
            "{blue} was written to by its own name a while ago, so that it may be that someone writes to it still"
        ),
        rows => {
            format!("{blue} got {rows} rows since the last look, so someone writes to it still")
        }
    }
}

fn listed(used: &[Use]) -> String {
    used.iter().map(|by| format!("  {by}")).collect::<Vec<_>>().join("\n")
}

fn indented(drift: &[Drift]) -> String {
    indented_text(&drift.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn indented_text(lines: &str) -> String {
    lines.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
