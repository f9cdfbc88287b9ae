//! What becomes of each function of preview 1: the WASI layer's, our own, or refused.

/// Error numbers of preview 1.
pub(crate) mod errno {
    pub(crate) const SUCCESS: i32 = 0;
    pub(crate) const BADF: i32 = 8;
    pub(crate) const FAULT: i32 = 21;
    pub(crate) const INVAL: i32 = 28;
    pub(crate) const MFILE: i32 = 33;
    pub(crate) const NAMETOOLONG: i32 = 37;
    pub(crate) const NOSYS: i32 = 52;
    pub(crate) const NOTSUP: i32 = 58;
    /// The WASI layer's own, for an address outside of memory. Preview 1 ends at 76.
    pub(crate) const LAYERS_MEMORY: i32 = 78;
}

/// Most descriptors that a guest may have open.
pub(crate) const MAX_OPEN: usize = 128;
/// Most buffers of one call.
pub(crate) const MAX_BUFFERS: u32 = 1_024;
/// Longest path of one call, in bytes.
pub(crate) const MAX_PATH: u32 = 4_096;
/// Most subscriptions of one `poll_oneoff`.
pub(crate) const MAX_SUBSCRIPTIONS: u32 = 1_024;

/// What is looked at before the WASI layer is called. Numbers are places of arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// Nothing.
    None,
    /// Buffers from an address on, so many: their bytes are paid for.
    Buffers,
    /// A directory's entries: buffer's size at 2, cookie at 3.
    Entries,
    /// A path of this length.
    Path(usize),
    /// Two of them.
    Paths(usize, usize),
    /// A folder to make or to remove, of the path length at 2. The layer knows only those that the guest has used in
    /// this call: it would not find the others, so it is made to look first.
    Folder,
    /// A path of the length at 3, and a new descriptor that is told at 8.
    Open,
    /// Closes a descriptor.
    Close,
    /// A descriptor that another becomes.
    Renumber,
}

/// Our own functions.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Own {
    ClockResolution,
    ClockTime,
    Poll,
    Exit,
    Random,
    Yield,
}

/// What becomes of a function.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// wasmer-wasix does it, on what this crate gives it.
    Layer(Check),
    /// This crate does it.
    Own(Own),
    /// Nobody does it: this error.
    Refuse(i32),
}

/// The rule for a function of `wasi_snapshot_preview1`. What has none is not linked.
pub(crate) fn rule(name: &str) -> Option<Rule> {
    use Check::{Buffers, Close, Entries, Folder, None as Nothing, Open, Path, Paths, Renumber};
    Some(match name {
        "args_get" | "args_sizes_get" | "environ_get" | "environ_sizes_get" => Rule::Layer(Nothing),
        "fd_advise" | "fd_allocate" | "fd_datasync" | "fd_sync" => Rule::Layer(Nothing),
        "fd_fdstat_get" | "fd_fdstat_set_flags" | "fd_fdstat_set_rights" => Rule::Layer(Nothing),
        "fd_filestat_get" | "fd_filestat_set_size" | "fd_filestat_set_times" => Rule::Layer(Nothing),
        "fd_prestat_get" | "fd_prestat_dir_name" | "fd_seek" | "fd_tell" => Rule::Layer(Nothing),
        "fd_read" | "fd_write" | "fd_pread" | "fd_pwrite" => Rule::Layer(Buffers),
        "fd_readdir" => Rule::Layer(Entries),
        "fd_close" => Rule::Layer(Close),
        "fd_renumber" => Rule::Layer(Renumber),
        "path_open" => Rule::Layer(Open),
        "path_create_directory" | "path_remove_directory" => Rule::Layer(Folder),
        "path_unlink_file" => Rule::Layer(Path(2)),
        "path_filestat_get" | "path_filestat_set_times" => Rule::Layer(Path(3)),
        "path_readlink" => Rule::Layer(Path(2)),
        "path_rename" => Rule::Layer(Paths(2, 5)),
        // A link is a second way to a file. There is one.
        "path_link" | "path_symlink" => Rule::Refuse(errno::NOTSUP),
        "clock_res_get" => Rule::Own(Own::ClockResolution),
        "clock_time_get" => Rule::Own(Own::ClockTime),
        "poll_oneoff" => Rule::Own(Own::Poll),
        "proc_exit" => Rule::Own(Own::Exit),
        "random_get" => Rule::Own(Own::Random),
        "sched_yield" => Rule::Own(Own::Yield),
        // No signals, no network.
        "proc_raise" | "sock_accept" | "sock_recv" | "sock_send" | "sock_shutdown" => {
            Rule::Refuse(errno::NOSYS)
        }
        _ => return None,
    })
}

/// Which arguments of a function of the layer are addresses of numbers, and what they must be multiples of. The layer
/// makes references of them, which must be aligned; it does not look itself.
pub(crate) fn aligned(name: &str) -> &'static [(usize, u32)] {
    match name {
        "args_get" | "environ_get" => &[(0, 4)],
        "args_sizes_get" | "environ_sizes_get" => &[(0, 4), (1, 4)],
        "fd_fdstat_get" | "fd_filestat_get" | "fd_tell" => &[(1, 8)],
        "fd_prestat_get" => &[(1, 4)],
        "fd_seek" => &[(3, 8)],
        "fd_read" | "fd_write" => &[(1, 4), (3, 4)],
        "fd_pread" | "fd_pwrite" => &[(1, 4), (4, 4)],
        "fd_readdir" => &[(4, 4)],
        "path_open" => &[(8, 4)],
        "path_filestat_get" => &[(4, 8)],
        "path_readlink" => &[(5, 4)],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use w3bstream_engine::abi::HostFunction;

    #[test]
    fn every_function_of_preview_1_has_a_rule_and_none_else() {
        let all = HostFunction::all().iter().filter(|f| f.module == "wasi_snapshot_preview1");
        let without: Vec<&str> = all.clone().filter(|f| rule(f.name).is_none()).map(|f| f.name).collect();
        assert_eq!((all.count(), without), (46, vec![]));
        for name in
            ["thread-spawn", "thread_spawn", "proc_spawn", "proc_exec", "sock_open", "tty_get", "proc_fork"]
        {
            assert!(rule(name).is_none(), "{name}");
        }
    }
}
