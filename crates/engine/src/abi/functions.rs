//! The functions that a guest may import.

use super::{assemblyscript, wasi, ws};
use crate::instrument::{Import, Signature, ValueType};
use crate::{Error, ErrorKind};

/// A function that a guest may import.
#[derive(Debug)]
pub struct HostFunction {
    /// The module's name, such as `env`.
    pub module: &'static str,
    /// The function's name.
    pub name: &'static str,
    /// Types of its parameters.
    pub params: &'static [ValueType],
    /// Type of its result.
    pub result: Option<ValueType>,
    pub(super) action: Action,
}

/// What a function does.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Ws(ws::Action),
    AssemblyScript(assemblyscript::Action),
    Wasi(wasi::Action),
}

const I: ValueType = ValueType::I32;
const L: ValueType = ValueType::I64;
const D: ValueType = ValueType::F64;

macro_rules! functions {
    ($($module:literal $name:literal ($($param:ident)*) $(-> $result:ident)?, $kind:ident $action:expr;)+) => {
        const FUNCTIONS: &[HostFunction] = &[$(HostFunction {
            module: $module,
            name: $name,
            params: &[$($param),*],
            result: functions!(@result $($result)?),
            action: Action::$kind($action),
        }),+];
    };
    (@result) => { None };
    (@result $result:ident) => { Some($result) };
}

use assemblyscript::Action as As;
use wasi::Action as P1;
use wasi::errno::{BADF, NOSYS, NOTCAPABLE};

functions! {
    "env" "ws_log" (I I I) -> I, Ws ws::Action::Log;
    "env" "ws_get_data" (I I I) -> I, Ws ws::Action::GetData;
    "env" "ws_set_data" (I I I) -> I, Ws ws::Action::SetData;
    "env" "ws_get_db" (I I I I) -> I, Ws ws::Action::GetDb;
    "env" "ws_set_db" (I I I I) -> I, Ws ws::Action::SetDb;
    "env" "ws_get_env" (I I I I) -> I, Ws ws::Action::GetEnv;
    "env" "ws_send_mqtt_msg" (I I I I) -> I, Ws ws::Action::SendMqtt;
    "env" "ws_get_event_type" (I I I) -> I, Ws ws::Action::GetEventType;
    "env" "ws_get_context" (I I I I) -> I, Ws ws::Action::GetContext;
    "env" "ws_settle" (I I I I) -> I, Ws ws::Action::Settle;
    "env" "ws_call_contract" (I I I I I) -> I, Ws ws::Action::CallContract;
    "env" "ws_send_tx" (I I I I I) -> I, Ws ws::Action::SendTx;
    "env" "ws_send_tx_with_operator" (I I I I I) -> I, Ws ws::Action::SendTxWithOperator;
    "env" "ws_send_tx" (I I) -> I, Ws ws::Action::SendTxOf2022;
    "env" "ws_get_mqtt_msg" (I I I I I) -> I, Ws ws::Action::GetMqtt;
    "env" "ws_api_call" (I I I I) -> I, Ws ws::Action::ApiCall;
    "env" "ws_set_sql_db" (I I) -> I, Ws ws::Action::SetSql;
    "env" "ws_get_sql_db" (I I I I) -> I, Ws ws::Action::GetSql;
    "env" "ws_send_event" (I I I I) -> I, Ws ws::Action::SendEvent;
    "env" "ws_send_answer" (I I) -> I, Ws ws::Action::SendAnswer;
    "stat" "ws_submit_metrics" (I I) -> I, Ws ws::Action::SubmitMetrics;
    "env" "abort" (I I I I), AssemblyScript As::Abort;
    "env" "trace" (I I D D D D D), AssemblyScript As::Trace;
    "env" "seed" () -> D, AssemblyScript As::Seed;
    "wasi_snapshot_preview1" "args_get" (I I) -> I, Wasi P1::Empty;
    "wasi_snapshot_preview1" "args_sizes_get" (I I) -> I, Wasi P1::NoSizes;
    "wasi_snapshot_preview1" "environ_get" (I I) -> I, Wasi P1::Empty;
    "wasi_snapshot_preview1" "environ_sizes_get" (I I) -> I, Wasi P1::NoSizes;
    "wasi_snapshot_preview1" "clock_res_get" (I I) -> I, Wasi P1::ClockResolution;
    "wasi_snapshot_preview1" "clock_time_get" (I L I) -> I, Wasi P1::ClockTime;
    "wasi_snapshot_preview1" "fd_advise" (I L L I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_allocate" (I L L) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_close" (I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_datasync" (I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_fdstat_get" (I I) -> I, Wasi P1::FdStat;
    "wasi_snapshot_preview1" "fd_fdstat_set_flags" (I I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_fdstat_set_rights" (I L L) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_filestat_get" (I I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_filestat_set_size" (I L) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_filestat_set_times" (I L L I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_pread" (I I I L I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_prestat_get" (I I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_prestat_dir_name" (I I I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_pwrite" (I I I L I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_read" (I I I I) -> I, Wasi P1::Read;
    "wasi_snapshot_preview1" "fd_readdir" (I I I L I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_renumber" (I I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_seek" (I L I I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_sync" (I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_tell" (I I) -> I, Wasi P1::Deny(BADF);
    "wasi_snapshot_preview1" "fd_write" (I I I I) -> I, Wasi P1::Write;
    "wasi_snapshot_preview1" "path_create_directory" (I I I) -> I, Wasi P1::Deny(NOTCAPABLE);
    "wasi_snapshot_preview1" "path_filestat_get" (I I I I I) -> I, Wasi P1::Deny(NOTCAPABLE);
    "wasi_snapshot_preview1" "path_filestat_set_times" (I I I I L L I) -> I, Wasi P1::Deny(NOTCAPABLE);
    "wasi_snapshot_preview1" "path_link" (I I I I I I I) -> I, Wasi P1::Deny(NOTCAPABLE);
    "wasi_snapshot_preview1" "path_open" (I I I I I L L I I) -> I, Wasi P1::Deny(NOTCAPABLE);
    "wasi_snapshot_preview1" "path_readlink" (I I I I I I) -> I, Wasi P1::Deny(NOTCAPABLE);
    "wasi_snapshot_preview1" "path_remove_directory" (I I I) -> I, Wasi P1::Deny(NOTCAPABLE);
    "wasi_snapshot_preview1" "path_rename" (I I I I I I) -> I, Wasi P1::Deny(NOTCAPABLE);
    "wasi_snapshot_preview1" "path_symlink" (I I I I I) -> I, Wasi P1::Deny(NOTCAPABLE);
    "wasi_snapshot_preview1" "path_unlink_file" (I I I) -> I, Wasi P1::Deny(NOTCAPABLE);
    "wasi_snapshot_preview1" "poll_oneoff" (I I I I) -> I, Wasi P1::Deny(NOSYS);
    "wasi_snapshot_preview1" "proc_exit" (I), Wasi P1::Exit;
    "wasi_snapshot_preview1" "proc_raise" (I) -> I, Wasi P1::Deny(NOSYS);
    "wasi_snapshot_preview1" "sched_yield" () -> I, Wasi P1::Empty;
    "wasi_snapshot_preview1" "random_get" (I I) -> I, Wasi P1::Random;
    "wasi_snapshot_preview1" "sock_accept" (I I I) -> I, Wasi P1::Deny(NOSYS);
    "wasi_snapshot_preview1" "sock_recv" (I I I I I I) -> I, Wasi P1::Deny(NOSYS);
    "wasi_snapshot_preview1" "sock_send" (I I I I I) -> I, Wasi P1::Deny(NOSYS);
    "wasi_snapshot_preview1" "sock_shutdown" (I I) -> I, Wasi P1::Deny(NOSYS);
}

/// Functions that the original's documents or kits once named and that no host of it ever had, with what to use.
const NEVER_THERE: &[(&str, &str)] = &[
    ("ws_counter_inc", "stat.ws_submit_metrics"),
    ("ws_counter_add", "stat.ws_submit_metrics"),
    ("ws_gauge_set", "stat.ws_submit_metrics"),
    ("ws_submit_geo_metrics", "stat.ws_submit_metrics"),
    ("ws_submit", "stat.ws_submit_metrics"),
    ("ws_get_redis_db", "env.ws_get_db"),
    ("ws_set_redis_db", "env.ws_set_db"),
    ("ws_send_mqtt", "env.ws_send_mqtt_msg"),
];

impl HostFunction {
    /// All functions.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        FUNCTIONS
    }

    /// Whether it hands data to the guest through `alloc`.
    #[must_use]
    pub const fn allocates(&self) -> bool {
        matches!(
            self.action,
            Action::Ws(
                ws::Action::GetData
                    | ws::Action::GetDb
                    | ws::Action::GetEnv
                    | ws::Action::GetEventType
                    | ws::Action::GetContext
                    | ws::Action::CallContract
                    | ws::Action::SendTx
                    | ws::Action::SendTxWithOperator
                    | ws::Action::GetMqtt
                    | ws::Action::ApiCall
                    | ws::Action::GetSql
            )
        )
    }

    /// Its type.
    #[must_use]
    pub fn signature(&self) -> Signature {
        Signature { params: self.params.to_vec(), results: self.result.into_iter().collect() }
    }

    /// The function that an import names.
    ///
    /// # Errors
    /// [`ErrorKind::BadProgram`] naming the nearest function if there is none, or the type that it must have.
    pub fn resolve(import: &Import) -> Result<&'static Self, Error> {
        let full = format!("{}.{}", import.module, import.name);
        let bad = |why: String| Err(Error::new(ErrorKind::BadProgram, format!("imports {full}, {why}")));
        let mut known = FUNCTIONS.iter().filter(|f| f.module == import.module && f.name == import.name);
        if let Some(first) = known.next() {
            // A function may have more than one form.
            let forms = || std::iter::once(first).chain(known.clone());
            if let Some(form) = forms().find(|f| f.signature() == import.signature) {
                return Ok(form);
            }
            let must: Vec<String> = forms().map(|f| f.signature().to_string()).collect();
            return bad(format!("as {}; it must be {}", import.signature, must.join(" or ")));
        }
        if let Some((_, instead)) = NEVER_THERE.iter().find(|(name, _)| *name == import.name) {
            return bad(format!("which no host ever had; use {instead}"));
        }
        let distance = |f: &&Self| {
            (strsim::damerau_levenshtein(f.name, &import.name), usize::from(f.module != import.module))
        };
        match FUNCTIONS.iter().min_by_key(distance) {
            Some(near) if distance(&near).0 <= 1 + import.name.len() / 3 => {
                bad(format!("which does not exist; did you mean {}.{}?", near.module, near.name))
            }
            _ => bad("which does not exist".to_owned()),
        }
    }
}
