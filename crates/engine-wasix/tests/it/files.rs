//! `/data`: what is kept, what is listed, what fails.

use w3bstream_engine::GuestError;

use crate::world::World;

/// Lists a folder below `/data`: names with a mark for their kind, one a line.
const LIST: &str = r#"
    (if (call $open PATH (i32.const 2) (i32.const 0)) (then unreachable))
    (if (call $fd_readdir (global.get $fd) (i32.const 8192) (i32.const 8192) (i64.const 0) (i32.const 28))
      (then unreachable))
    (local.set $i (i32.const 8192))
    (local.set $b (i32.add (i32.const 8192) (i32.load (i32.const 28))))
    (loop $next (if (i32.lt_u (local.get $i) (local.get $b)) (then
      (local.set $a (i32.load offset=16 (local.get $i)))
      (call $say (i32.add (i32.const 48) (i32.load8_u offset=20 (local.get $i))))
      (call $print (i32.add (local.get $i) (i32.const 24)) (local.get $a))
      (call $say (i32.const 10))
      (local.set $i (i32.add (local.get $i) (i32.add (i32.const 24) (local.get $a))))
      (br $next))))
    (drop (call $fd_close (global.get $fd)))"#;

fn list(path: &str) -> String {
    LIST.replace("PATH", &format!("'{path}'"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_only_folder_is_data() {
    // Descriptor 3 is wasmer-wasix's own root.
    let said = World::default().says(
        "(call $say (call $fd_prestat_get (i32.const 4) (i32.const 24)))
         (call $say (i32.load (i32.const 28)))
         (call $say (call $fd_prestat_dir_name (i32.const 4) (i32.const 1024) (i32.const 5)))
         (call $print (i32.const 1024) (i32.const 5))
         (call $say (call $fd_prestat_get (i32.const 5) (i32.const 24)))",
    );
    assert_eq!(said, b"\x00\x05\x00/data\x08");
}

#[test]
fn files_are_keys_of_the_state_and_there_in_the_next_call() {
    let mut world = World::default();
    let made = world.says(
        "(call $say (call $make 'b.txt' 'hello')) (call $say (call $path_create_directory (i32.const 4) 'dir'))
         (call $say (call $make 'dir/a' 'in there')) (call $say (call $make 'empty' ''))",
    );
    assert_eq!(made, [0, 0, 0, 0]);
    assert_eq!(world.keys(), ["/data", "/data/", "/data/b.txt", "/data/dir/", "/data/dir/a", "/data/empty"]);
    assert_eq!(world.value("/data/b.txt").as_deref(), Some("hello"));
    assert_eq!(world.value("/data/").as_deref(), Some("b.txt\ndir/\nempty\n"));
    assert_eq!(world.value("/data").as_deref(), Some("4 13"));
    let said = world.says(&format!("(call $say (call $cat 'dir/a')) {} {}", list("."), list("dir")));
    assert_eq!(text(&said), "in there\x003.\n3..\n4b.txt\n3dir\n4empty\n3.\n3..\n4a\n");
}

#[test]
fn what_was_only_read_is_not_written() {
    let mut world = World::default();
    world.says("(call $say (call $make 'a' 'x'))");
    let outcome = world.run(&format!("(call $say (call $cat 'a')) {}", list(".")));
    assert_eq!((outcome.result, outcome.writes.len(), outcome.removed.len()), (Ok(0), 0, 0));
}

#[test]
fn appending_seeking_and_cutting() {
    let mut world = World::default();
    world.says("(call $say (call $make 'f' '0123456789'))");
    let append = "(call $say (call $open 'f' (i32.const 0) (i32.const 1))) (call $say (call $put (global.get $fd) 'AB'))";
    assert_eq!(world.says(append), [0, 0]);
    assert_eq!(world.value("/data/f").as_deref(), Some("0123456789AB"));
    let middle = "(call $say (call $open 'f' (i32.const 0) (i32.const 0)))
        (call $say (call $fd_seek (global.get $fd) (i64.const 3) (i32.const 0) (i32.const 24)))
        (call $say (call $put (global.get $fd) 'xyz'))
        (call $say (call $fd_tell (global.get $fd) (i32.const 24))) (call $say (i32.load (i32.const 24)))
        (call $say (call $fd_seek (global.get $fd) (i64.const -1) (i32.const 2) (i32.const 24)))
        (call $say (i32.load (i32.const 24)))
        (call $say (call $fd_filestat_set_size (global.get $fd) (i64.const 8)))";
    assert_eq!(world.says(middle), [0, 0, 0, 0, 6, 0, 11, 0]);
    assert_eq!(world.value("/data/f").as_deref(), Some("012xyz67"));
    // Behind the end: zeros in between. pwrite does not move.
    let behind = "(call $say (call $open 'f' (i32.const 8) (i32.const 0)))
        (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.const 1))
        (call $say (call $fd_pwrite (global.get $fd) (i32.const 0) (i32.const 1) (i64.const 3) (i32.const 8)))";
    assert_eq!(world.says(behind), [0, 0]);
    assert_eq!(world.value("/data/f").as_deref(), Some("\0\0\0f"));
    assert_eq!(world.value("/data").as_deref(), Some("1 4"));
}

#[test]
fn a_failed_call_leaves_everything_as_it_was() {
    let mut world = World::default();
    world.says(
        "(call $say (call $make 'a' 'before')) (call $say (call $path_create_directory (i32.const 4) 'd'))",
    );
    let before = world.state.clone();
    let change = "(drop (call $make 'a' 'after')) (drop (call $make 'new' 'x')) (drop (call $path_unlink_file (i32.const 4) 'a'))
                  (drop (call $path_remove_directory (i32.const 4) 'd'))";
    world.fails(&format!("{change} unreachable"), GuestError::Trap);
    world.fails(&format!("{change} (call $proc_exit (i32.const 1))"), GuestError::Exit);
    world.fails(&format!("{change} (loop $l (br $l))"), GuestError::OutOfGas);
    assert_eq!(world.state, before);
}

#[test]
fn removing_and_renaming() {
    let mut world = World::default();
    world.says(
        "(drop (call $make 'a' 'A')) (drop (call $make 'b' 'B')) (drop (call $path_create_directory (i32.const 4) 'd'))
         (drop (call $path_create_directory (i32.const 4) 'd/e')) (drop (call $make 'd/e/f' 'F'))",
    );
    let at = "(i32.const 4)";
    let said = world.says(&format!(
        "(call $say (call $path_remove_directory {at} 'd')) (call $say (call $path_unlink_file {at} 'd'))
         (call $say (call $path_remove_directory {at} 'a')) (call $say (call $path_unlink_file {at} 'none'))
         (call $say (call $path_create_directory {at} 'd')) (call $say (call $path_create_directory {at} 'x/y'))
         (call $say (call $path_rename {at} 'd' {at} 'd/e/g')) (call $say (call $path_rename {at} 'none' {at} 'x'))"
    ));
    // notempty, isdir, notdir, noent, exist, noent, inval, noent
    assert_eq!(said, [55, 31, 54, 44, 20, 44, 28, 44]);
    // Over another file, and a folder with what is in it.
    let said = world.says(&format!(
        "(call $say (call $path_rename {at} 'a' {at} 'b')) (call $say (call $cat 'b'))
         (call $say (call $path_rename {at} 'd' {at} 'moved')) (call $say (call $cat 'moved/e/f'))
         (call $say (call $path_unlink_file {at} 'b'))"
    ));
    assert_eq!(said, b"\0A\0\0F\0\0");
    assert_eq!(world.keys(), ["/data", "/data/", "/data/moved/", "/data/moved/e/", "/data/moved/e/f"]);
    assert_eq!(world.value("/data/").as_deref(), Some("moved/\n"));
    assert_eq!(world.value("/data").as_deref(), Some("3 1"));
}

#[test]
fn a_removed_file_that_is_open_can_still_be_used() {
    let mut world = World::default();
    let said = world.says(
        "(drop (call $make 'f' 'there')) (drop (call $open 'f' (i32.const 0) (i32.const 0)))
         (call $say (call $path_unlink_file (i32.const 4) 'f'))
         (call $print (i32.const 32768) (call $get (global.get $fd)))
         (call $say (call $put (global.get $fd) '!')) (call $say (call $cat 'f'))",
    );
    assert_eq!(said, b"\0there\0\x2c");
    assert_eq!(world.value("/data/f"), None);
}

#[test]
fn every_way_out_of_data_ends_inside() {
    let mut world = World::default();
    world.says("(drop (call $make 'secret' 'mine')) (drop (call $path_create_directory (i32.const 4) 'd'))");
    let before = world.state.clone();
    for path in [
        "../etc/passwd",
        "../../etc/passwd",
        "d/../../etc/passwd",
        "/etc/passwd",
        "//etc/passwd",
        "/proc/self/environ",
        "/dev/null",
        "/dev/urandom",
        "/bin/sh",
        "/tmp/x",
        "../x",
        "/x",
        "..",
        "/",
        "d/../..",
        "secret/",
        "secret/.",
        "secret/..",
        "secret/x",
        "./../x",
        "/data/../x",
        "a\\b",
        "new/",
        "",
    ] {
        for how in [0, 1, 5, 9] {
            let outcome = world.run(&format!(
                "(local.set $a (call $open '{path}' (i32.const {how}) (i32.const 0)))
                 (call $say (local.get $a)) (if (i32.eqz (local.get $a)) (then
                   (call $say (call $put (global.get $fd) 'overwritten'))))"
            ));
            assert_eq!(world.state, before, "{path:?} with {how} changed something: {outcome:?}");
            let Ok(0) = outcome.result else { panic!("{path:?} with {how}: {outcome:?}") };
            assert_ne!(crate::world::answer(&outcome), [0, 0], "{path:?} with {how} can be written to");
        }
        for call in ["path_create_directory", "path_unlink_file", "path_remove_directory"] {
            world.run(&format!("(call $say (call ${call} (i32.const 4) '{path}'))"));
            let kept = world.state.contains_key(b"/data/secret".as_slice());
            assert!(kept || path.starts_with("secret"), "{call} {path:?}");
            if path != "new/" {
                assert_eq!(world.state, before, "{call} {path:?}");
            }
            world.state.clone_from(&before);
        }
        world.run(&format!("(call $say (call $path_rename (i32.const 4) 'secret' (i32.const 4) '{path}'))"));
        let outside: Vec<_> = world.keys().into_iter().filter(|k| !k.starts_with("/data")).collect();
        assert_eq!(outside, [""; 0]);
        world.state.clone_from(&before);
    }
}

#[test]
fn there_are_no_links() {
    let mut world = World::default();
    let said = world.says(
        "(drop (call $make 'f' 'x'))
         (call $say (call $path_symlink '/etc/passwd' (i32.const 4) 'link'))
         (call $say (call $path_link (i32.const 4) (i32.const 0) 'f' (i32.const 4) 'hard'))
         (call $say (call $path_readlink (i32.const 4) 'f' (i32.const 1024) (i32.const 64) (i32.const 28)))
         (call $say (call $cat 'link')) (call $say (call $cat 'hard'))",
    );
    assert_eq!(said, [58, 58, 28, 44, 44]);
}

#[test]
fn a_listing_goes_on_where_its_cookie_says() {
    let mut world = World::default();
    let said = world.says(
        "(drop (call $make 'a' '')) (drop (call $make 'b' ''))
         (drop (call $open '.' (i32.const 2) (i32.const 0)))
         (call $say (call $fd_readdir (global.get $fd) (i32.const 8192) (i32.const 512) (i64.const 3) (i32.const 28)))
         (call $say (i32.load (i32.const 28))) (call $say (i32.load8_u (i32.const 8216)))
         (call $say (call $fd_readdir (global.get $fd) (i32.const 8192) (i32.const 512) (i64.const 99) (i32.const 28)))
         (call $say (i32.load (i32.const 28)))
         (call $say (call $fd_readdir (global.get $fd) (i32.const 8192) (i32.const 512) (i64.const -1) (i32.const 28)))",
    );
    assert_eq!(said, [0, 25, b'b', 0, 0, 28]);
}
