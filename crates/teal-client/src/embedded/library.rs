//! The C API of `libchdb.so`, loaded at run time. All unsafe code of teal is here and in `exit`, but for one call
//! in `teal-models/src/extractor.rs`.
//!
//! Written against the header `programs/local/chdb.h` of chdb-core 26.7, which says that a
//! connection runs one statement at a time and that several connections to one path may run in
//! parallel from several threads.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ops::ControlFlow;
use std::path::Path;
use std::ptr::NonNull;

use super::exit;
use crate::error::silence;
use crate::{Answer, ClientError};

type Connection = *mut c_void;
type QueryResult = *mut c_void;
type Stream = *mut c_void;

/// Declares [`Library`] with one field per C function, and how all of them are looked up.
macro_rules! c_api {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of a loaded `libchdb.so`. The library is never unloaded: its threads
        /// outlive every connection.
        pub(super) struct Library {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Library {
            fn look_up(library: &libloading::Library) -> Result<Self, libloading::Error> {
                // SAFETY: the types are those of the header named above.
                unsafe {
                    Ok(Self { $($name: *library.get(stringify!($name))?,)* })
                }
            }
        }
    };
}

c_api! {
    chdb_set_signal_handlers_enabled: fn(c_int);
    chdb_connect: fn(c_int, *const *const c_char) -> *mut Connection;
    chdb_close_conn: fn(*mut Connection);
    chdb_query_n: fn(Connection, *const u8, usize, *const u8, usize) -> QueryResult;
    chdb_stream_query_n: fn(Connection, *const u8, usize, *const u8, usize) -> QueryResult;
    chdb_stream_fetch_result: fn(Connection, QueryResult) -> QueryResult;
    chdb_stream_cancel_query: fn(Connection, QueryResult);
    chdb_destroy_query_result: fn(QueryResult);
    chdb_stream_insert_n: fn(Connection, *const u8, usize, *const u8, usize) -> Stream;
    chdb_stream_append: fn(Stream, *const u8, usize) -> c_int;
    chdb_stream_done: fn(Stream) -> QueryResult;
    chdb_stream_insert_error: fn(Stream) -> *const c_char;
    chdb_destroy_insert_stream: fn(Stream);
    chdb_result_buffer: fn(QueryResult) -> *const u8;
    chdb_result_length: fn(QueryResult) -> usize;
    chdb_result_elapsed: fn(QueryResult) -> f64;
    chdb_result_storage_rows_read: fn(QueryResult) -> u64;
    chdb_result_storage_bytes_read: fn(QueryResult) -> u64;
    chdb_result_rows_written: fn(QueryResult) -> u64;
    chdb_result_error: fn(QueryResult) -> *const c_char;
    chdb_classify_query_n: fn(Connection, *const u8, usize, *const u8, usize, *mut Analysis) -> c_int;
}

/// `chdb_query_analysis_v1`.
#[repr(C)]
#[derive(Default)]
struct Analysis {
    struct_size: u32,
    statement_count: u32,
    flags: u32,
    query_class: u32,
}

/// `CHDB_QUERY_READ_ONLY`.
const READ_ONLY: u32 = 0;

impl Library {
    pub(super) fn load(path: &Path) -> Result<&'static Self, ClientError> {
        let failed = |reason: String| ClientError::Load { path: path.to_owned(), reason };
        // SAFETY: loading runs the library's initialisers; it is the engine the user chose.
        let library =
            unsafe { libloading::Library::new(path) }.map_err(|error| failed(error.to_string()))?;
        let functions = Self::look_up(&library).map_err(|error| failed(error.to_string()))?;
        // Keep it loaded to the end of the process.
        std::mem::forget(library);
        // SAFETY: called before the first connection, as the header asks. teal handles its own
        // signals.
        unsafe { (functions.chdb_set_signal_handlers_enabled)(0) };
        Ok(Box::leak(Box::new(functions)))
    }

    /// Opens a connection with command-line arguments such as `--path=…`. `None` when the engine
    /// refuses; it writes the reason to the standard error only.
    pub(super) fn connect(&'static self, arguments: &[String]) -> Option<RawConnection> {
        let arguments = std::iter::once("clickhouse")
            .chain(arguments.iter().map(String::as_str))
            .map(CString::new)
            .collect::<Result<Vec<_>, _>>()
            .ok()?;
        let pointers = arguments.iter().map(|argument| argument.as_ptr()).collect::<Vec<_>>();
        let count = c_int::try_from(pointers.len()).ok()?;
        // SAFETY: `pointers` are NUL-terminated texts that outlive the call.
        let handle = unsafe { (self.chdb_connect)(count, pointers.as_ptr()) };
        let handle = NonNull::new(handle)?;
        exit::connection_opened();
        Some(RawConnection { library: self, handle, may_hold_leftovers: false })
    }
}

/// One open connection. It may move between threads, but `&mut` keeps it to one statement at a
/// time.
pub(super) struct RawConnection {
    library: &'static Library,
    handle: NonNull<Connection>,
    /// The last statement failed, or was ended before its end. The engine (26.7) keeps what such a
    /// statement had put out by then, and would put it before the next answer.
    may_hold_leftovers: bool,
}

// SAFETY: the engine does not tie a connection to a thread; `&mut self` serialises its use.
unsafe impl Send for RawConnection {}

impl RawConnection {
    fn connection(&self) -> Connection {
        // SAFETY: the handle lives until `drop`.
        unsafe { *self.handle.as_ptr() }
    }

    pub(super) fn query(&mut self, statement: &str, format: &str) -> Result<Answer, ClientError> {
        self.discard_leftovers()?;
        let answer = self.query_as_is(statement, format);
        self.may_hold_leftovers = answer.is_err();
        answer
    }

    fn discard_leftovers(&mut self) -> Result<(), ClientError> {
        if self.may_hold_leftovers {
            // The answer to this has them.
            self.query_as_is("SELECT 1", "Null")?;
            self.may_hold_leftovers = false;
        }
        Ok(())
    }

    fn query_as_is(&mut self, statement: &str, format: &str) -> Result<Answer, ClientError> {
        // SAFETY: both texts outlive the call; the result is owned by `RawResult`.
        let result = unsafe {
            (self.library.chdb_query_n)(
                self.connection(),
                statement.as_ptr(),
                statement.len(),
                format.as_ptr(),
                format.len(),
            )
        };
        RawResult { library: self.library, result }.answer(statement)
    }

    pub(super) fn stream(
        &mut self,
        statement: &str,
        format: &str,
        started: &mut dyn FnMut(),
        receive: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        self.discard_leftovers()?;
        let outcome = self.stream_as_is(statement, format, started, receive);
        self.may_hold_leftovers = !matches!(outcome, Ok(ControlFlow::Continue(())));
        outcome.map(drop)
    }

    fn stream_as_is(
        &mut self,
        statement: &str,
        format: &str,
        started: &mut dyn FnMut(),
        receive: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ClientError> {
        // SAFETY: as in `query_as_is`.
        let head = unsafe {
            (self.library.chdb_stream_query_n)(
                self.connection(),
                statement.as_ptr(),
                statement.len(),
                format.as_ptr(),
                format.len(),
            )
        };
        let head = RawResult { library: self.library, result: head };
        head.check(statement)?;
        started();
        loop {
            // SAFETY: `head` is the stream's handle and lives to the end of this function.
            let piece =
                unsafe { (self.library.chdb_stream_fetch_result)(self.connection(), head.result) };
            let piece = RawResult { library: self.library, result: piece };
            let flow = match (piece.check(statement), piece.body()) {
                (Ok(()), []) => return Ok(ControlFlow::Continue(())),
                (Ok(()), body) => Ok(receive(body)),
                (Err(error), _) => Err(error),
            };
            if !matches!(flow, Ok(ControlFlow::Continue(()))) {
                // SAFETY: as above.
                unsafe { (self.library.chdb_stream_cancel_query)(self.connection(), head.result) };
                return flow;
            }
        }
    }

    pub(super) fn insert<'c>(
        &'c mut self,
        statement: &str,
        format: &str,
    ) -> Result<RawInsert<'c>, ClientError> {
        self.discard_leftovers()?;
        // SAFETY: both texts outlive the call; the stream is owned by `RawInsert`.
        let stream = unsafe {
            (self.library.chdb_stream_insert_n)(
                self.connection(),
                statement.as_ptr(),
                statement.len(),
                format.as_ptr(),
                format.len(),
            )
        };
        let insert = RawInsert { connection: self, stream, statement: statement.to_owned() };
        insert.check()?;
        Ok(insert)
    }

    /// Whether the engine's parser says that the statement leaves no trace. A statement that it
    /// cannot parse does not count as such.
    pub(super) fn is_read_only(&mut self, statement: &str) -> bool {
        let mut analysis =
            Analysis { struct_size: size_of::<Analysis>() as u32, ..Analysis::default() };
        // SAFETY: the text outlives the call, and `analysis` is as large as it says.
        let state = unsafe {
            (self.library.chdb_classify_query_n)(
                self.connection(),
                statement.as_ptr(),
                statement.len(),
                std::ptr::null(),
                0,
                &raw mut analysis,
            )
        };
        state == 0 && analysis.statement_count > 0 && analysis.query_class == READ_ONLY
    }
}

impl Drop for RawConnection {
    fn drop(&mut self) {
        // SAFETY: the handle came from `chdb_connect` and is closed once.
        unsafe { (self.library.chdb_close_conn)(self.handle.as_ptr()) }
    }
}

/// An INSERT stream. Destroying it unfinished cancels it.
pub(super) struct RawInsert<'c> {
    connection: &'c mut RawConnection,
    stream: Stream,
    statement: String,
}

impl RawInsert<'_> {
    fn check(&self) -> Result<(), ClientError> {
        // SAFETY: the stream lives until `drop`.
        let error =
            unsafe { text((self.connection.library.chdb_stream_insert_error)(self.stream)) };
        match error {
            Some(message) => Err(ClientError::from_server(&message, &self.statement)),
            None => Ok(()),
        }
    }

    pub(super) fn send(&mut self, data: &[u8]) -> Result<(), ClientError> {
        // SAFETY: the engine copies `data` before it returns.
        let state = unsafe {
            (self.connection.library.chdb_stream_append)(self.stream, data.as_ptr(), data.len())
        };
        match state {
            0 => Ok(()),
            _ => {
                self.check()?;
                Err(silence(&self.statement))
            }
        }
    }

    pub(super) fn finish(self) -> Result<Answer, ClientError> {
        let library = self.connection.library;
        // SAFETY: the stream lives until `drop`; the result is owned by `RawResult`.
        let result = unsafe { (library.chdb_stream_done)(self.stream) };
        RawResult { library, result }.answer(&self.statement)
    }
}

impl Drop for RawInsert<'_> {
    fn drop(&mut self) {
        // SAFETY: the stream came from `chdb_stream_insert_n` and is destroyed once.
        unsafe { (self.connection.library.chdb_destroy_insert_stream)(self.stream) }
    }
}

/// A result that the engine allocated.
struct RawResult {
    library: &'static Library,
    result: QueryResult,
}

impl RawResult {
    fn check(&self, statement: &str) -> Result<(), ClientError> {
        if self.result.is_null() {
            return Err(silence(statement));
        }
        // SAFETY: the result is not null and lives until `drop`.
        match unsafe { text((self.library.chdb_result_error)(self.result)) } {
            Some(message) => Err(ClientError::from_server(&message, statement)),
            None => Ok(()),
        }
    }

    fn body(&self) -> &[u8] {
        // SAFETY: buffer and length belong to the result, which outlives the slice.
        unsafe {
            let (data, length) = (
                (self.library.chdb_result_buffer)(self.result),
                (self.library.chdb_result_length)(self.result),
            );
            match data.is_null() || length == 0 {
                true => &[],
                false => std::slice::from_raw_parts(data, length),
            }
        }
    }

    fn answer(self, statement: &str) -> Result<Answer, ClientError> {
        self.check(statement)?;
        // SAFETY: the result is not null and lives until `drop`.
        unsafe {
            Ok(Answer {
                body: self.body().to_vec(),
                rows_read: (self.library.chdb_result_storage_rows_read)(self.result),
                bytes_read: (self.library.chdb_result_storage_bytes_read)(self.result),
                rows_written: (self.library.chdb_result_rows_written)(self.result),
                seconds: (self.library.chdb_result_elapsed)(self.result),
                server: None,
            })
        }
    }
}

impl Drop for RawResult {
    fn drop(&mut self) {
        if !self.result.is_null() {
            // SAFETY: the result came from the engine and is destroyed once.
            unsafe { (self.library.chdb_destroy_query_result)(self.result) }
        }
    }
}

/// # Safety
/// `pointer` is null or a NUL-terminated text that stays valid during the call.
unsafe fn text(pointer: *const c_char) -> Option<String> {
    match pointer.is_null() {
        true => None,
        // SAFETY: as above.
        false => Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()),
    }
}
