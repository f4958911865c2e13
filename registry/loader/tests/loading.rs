//! Real shared libraries: what is refused before anything of it runs, what after, and what loads.
#![cfg(all(target_os = "linux", not(miri)))]
#![expect(clippy::unwrap_used, reason = "a test that cannot make its files has failed")]
#![expect(clippy::print_stdout, reason = "a test that cannot run says so")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use lmprobe_abi::{LMPROBE_ABI_MAJOR, LMPROBE_ABI_MINOR, lmprobe_call, lmprobe_host, lmprobe_str};
use lmprobe_loader::{ErrorSlot, Library, LoadRequest, Options, Pin, Via, floating_point, inspect, load};

unsafe extern "C" fn log(_: *const lmprobe_call, _: u32, _: lmprobe_str) {}

/// A host of a later minor: a longer table, of which a plugin reads what it knows.
#[repr(C)]
struct LaterHost {
    table: lmprobe_host,
    later: [u64; 8],
}

const TABLE: lmprobe_host = lmprobe_host {
    struct_size: 104,
    abi_major: LMPROBE_ABI_MAJOR,
    abi_minor: LMPROBE_ABI_MINOR,
    host_version: lmprobe_str { ptr: b"test".as_ptr(), len: 4 },
    log: Some(log),
    progress: None,
    cancelled: None,
    seed: None,
    threads: None,
    record_input: None,
    encoder_describe: None,
    encoder_tokenize: None,
    encoder_encode: None,
    encoder_token: None,
};

/// A table of functions may be shared; only its pointer to a static text makes the compiler ask.
struct Shared<T>(T);
// SAFETY: nothing in it is ever written.
unsafe impl<T> Sync for Shared<T> {}

static HOST: Shared<lmprobe_host> = Shared(TABLE);
static LATER_HOST: Shared<LaterHost> =
    Shared(LaterHost { table: lmprobe_host { struct_size: 168, abi_minor: LMPROBE_ABI_MINOR + 1, ..TABLE }, later: [u64::MAX; 8] });

/// A folder that only this user may write, and whether anything in it ran.
struct Folder {
    folder: tempfile::TempDir,
    /// The mark is named in the environment, which all tests share.
    _turn: MutexGuard<'static, ()>,
}

/// `None` where there is no compiler.
fn folder() -> Option<Folder> {
    static TURN: Mutex<()> = Mutex::new(());
    static COMPILER: LazyLock<bool> = LazyLock::new(|| Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success()));
    if !*COMPILER {
        println!("skipped: there is no `cc` to build plugins with");
        return None;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    // SAFETY: one test at a time, and no test reads the environment elsewhere.
    unsafe {
        std::env::set_var("LMPROBE_TEST_MARK", folder.path().join("mark"));
        std::env::set_var("LMPROBE_TEST_GOODBYE", folder.path().join("goodbye"));
    }
    Some(Folder { folder, _turn: turn })
}

impl Folder {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn built_from(&self, source: &Path, include: &Path, name: &str, switches: &[&str]) -> PathBuf {
        let (path, warnings) = (self.path(name), ["-Wall", "-Wextra", "-Werror", "-Werror=implicit-function-declaration"]);
        let output = Command::new("cc")
            .args(["-D_DEFAULT_SOURCE", "-std=c11", "-fvisibility=hidden", "-shared", "-fPIC", "-I"])
            .arg(include)
            .args(warnings)
            .args(switches)
            .arg("-o")
            .arg(&path)
            .arg(source)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Where files are made writable by their group by default they would be refused.
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        path
    }

    fn built(&self, name: &str, switches: &[&str]) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        self.built_from(&root.join("tests/fixtures/plugin.c"), &root.join("../../core/abi/include"), name, switches)
    }

    fn ran(&self) -> bool {
        self.path("mark").exists()
    }

    /// The refusal of a file of which nothing ran, without the path.
    fn refused_unrun(&self, path: &Path) -> String {
        let message = refusal(path, Pin::Unpinned);
        assert!(!self.ran(), "something of {} ran", path.display());
        message
    }
}

fn refusal(path: &Path, pin: Pin) -> String {
    let error = load(&LoadRequest::new(path, pin), &HOST.0).unwrap_err();
    error.to_string().strip_prefix(&format!("plugin `{}`: ", path.display())).unwrap().to_owned()
}

fn loaded(path: &Path) -> &'static Library {
    load(&LoadRequest::new(path, Pin::Unpinned), &HOST.0).unwrap_or_else(|error| panic!("{error}"))
}

/// Creates an instance of the first component; its address is what `helper` of the plugin returns.
fn helper_of(library: &Library) -> usize {
    let mut instance = std::ptr::null_mut();
    let mut error = ErrorSlot::new();
    let params = lmprobe_str { ptr: b"{}".as_ptr(), len: 2 };
    // SAFETY: the fixture reads no argument but the instance.
    let status = unsafe { (library.components[0].create)(std::ptr::null(), params, &raw mut instance, error.as_mut_ptr()) };
    assert_eq!(status, 0);
    instance.addr()
}

#[test]
fn a_plugin_loads_with_all_it_says() {
    let Some(folder) = folder() else { return };
    let path = folder.built("all.so", &[r#"-DFACTS="{\"families\":[\"bert\"],\"recipe\":{\"epochs\":2}}""#, "-DCAPS=0xf00000000001ull"]);
    let found = inspect(&path, Options::default()).unwrap();
    assert!(!folder.ran());
    assert_eq!((found.abi, found.machine.to_string().as_str(), found.size), ((1, 0), std::env::consts::ARCH, fs::metadata(&path).unwrap().len()));
    assert_eq!(found.needed, ["libc.so.6"]);
    assert_eq!(found.exports, ["LMPROBE_STAMP", "lmprobe_plugin_entry_v1"]);
    let hash = String::from_utf8(Command::new("sha256sum").arg(&path).output().unwrap().stdout).unwrap();
    assert!(hash.starts_with(&found.sha256));

    let library = load(&LoadRequest::new(&path, found.sha256.parse().unwrap()), &HOST.0).unwrap();
    assert!(folder.ran());
    assert_eq!((library.name.as_str(), library.version.as_str(), library.license.as_str(), library.build_info.as_str()), ("acme", "0.1.0", "MIT", "cc"));
    assert_eq!((library.abi, &library.sha256, library.via, library.changed_floating_point), ((1, 0), &found.sha256, Via::SealedMemory, false));
    let component = &library.components[0];
    assert_eq!((component.id.as_str(), component.version.as_str(), component.summary.as_str()), ("acme/share", "1.0.0", "does nothing"));
    assert_eq!((component.families.as_slice(), component.caps), (&["bert".to_owned()][..], 0xf000_0000_0001)); // unknown capabilities are kept
    assert_eq!(component.recipe.as_ref().unwrap()["epochs"], 2);
    assert!(component.describe.is_none());
}

#[test]
fn files_that_are_no_plugin_are_refused_unrun() {
    let Some(folder) = folder() else { return };
    let refused = |name: &str| folder.refused_unrun(&folder.path(name));
    assert_eq!(refused("missing.so"), "there is no such file");
    assert_eq!(folder.refused_unrun(&folder.path("no/such.so")), "there is no such file");
    fs::create_dir(folder.path("directory.so")).unwrap();
    assert_eq!(refused("directory.so"), "is a directory, not a regular file; give the shared library itself");
    assert!(Command::new("mkfifo").arg(folder.path("pipe.so")).status().unwrap().success());
    assert_eq!(refused("pipe.so"), "is a pipe, not a regular file; give the shared library itself");
    let good = folder.built("good.so", &[]);
    symlink(&good, folder.path("link.so")).unwrap();
    assert_eq!(refused("link.so"), "is a symbolic link; give the path of the file it points to");
    let written = |name: &str, bytes: &[u8]| {
        fs::write(folder.path(name), bytes).unwrap();
        refused(name)
    };
    assert_eq!(written("empty.so", b""), "is empty");
    // 20 kB that look random and are the same in every run.
    let random: Vec<u8> = (0..20_000u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_le_bytes()[0]).collect();
    assert_eq!(written("random.so", &random), "is not a shared library: it begins like no file of that kind");
    let bytes = fs::read(&good).unwrap();
    let sparse = fs::File::create(folder.path("large.so")).unwrap();
    sparse.set_len((1 << 30) + 1).unwrap();
    assert_eq!(refused("large.so"), "has 1073741825 bytes; a plugin has at most 1073741824");
    for end in (512..bytes.len()).step_by(512).chain([4, 5, 16, 63, bytes.len() - 1]) {
        let message = written("truncated.so", &bytes[..end]);
        assert!(message.starts_with("is damaged: "), "{end}: {message}");
    }
    let changed = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        written("changed.so", &bytes)
    };
    assert_eq!(changed(4, 1), "is built for 32 bits; the interface is defined for 64");
    assert_eq!(changed(5, 2), format!("is built for the other byte order; build it for {}", std::env::consts::ARCH));
    assert_eq!(changed(18, 8), format!("is built for machine 8, this machine is {}; build the plugin for it", std::env::consts::ARCH));
    assert_eq!(changed(16, 2), "is a program, not a shared library; link it with `-shared -fPIC`");
    assert_eq!(changed(16, 1), "is an object file, not a shared library; link it with `-shared -fPIC`");
    // The program that runs this test is position-independent, a shared object but for one flag.
    fs::copy(std::env::current_exe().unwrap(), folder.path("program.so")).unwrap();
    assert_eq!(refused("program.so"), "is a program, not a shared library; link it with `-shared -fPIC`");
}

#[test]
fn stamps_of_other_versions_are_refused_unrun() {
    let Some(folder) = folder() else { return };
    let refused = |switches: &[&str]| folder.refused_unrun(&folder.built("stamp.so", switches));
    assert_eq!(refused(&["-DNO_STAMP"]), "has no stamp, so it is no plugin of lmprobe; in C, write `LMPROBE_DEFINE_STAMP` in one file");
    assert_eq!(refused(&["-DSTAMP_MAGIC={1,2,3,4,5,6,7,8}"]), "has a stamp that does not begin with `LMPABI`; build it anew against `lmprobe_plugin.h`");
    for major in [0, 2, 65535] {
        assert_eq!(
            refused(&[&format!("-DSTAMP_MAJOR={major}")]),
            format!("is built for version {major}.0 of the plugin interface, this program has 1.0; build it against the `lmprobe_plugin.h` of this program")
        );
    }
    assert_eq!(refused(&["-DNO_ENTRY"]), "exports no function `lmprobe_plugin_entry_v1`; in C, define it after `LMPROBE_DECLARE_ENTRY`");
}

#[test]
fn libraries_from_relative_places_are_refused_unrun() {
    let Some(folder) = folder() else { return };
    let refused = |switches: &[&str]| folder.refused_unrun(&folder.built("path.so", switches));
    let message = |entry: &str| format!("has the library path `{entry}`, which is relative; link it without `-rpath`, or with absolute folders only");
    assert_eq!(refused(&["-Wl,-rpath,$ORIGIN/lib"]), message("$ORIGIN/lib"));
    assert_eq!(refused(&["-Wl,--disable-new-dtags,-rpath,/usr/lib:lib"]), message("lib"));
    assert_eq!(refused(&["-Wl,-rpath,/usr/lib::/lib"]), message(""));
    let other = folder.built("libother.so", &["-DNO_STAMP", "-Wl,-soname,lib/libother.so"]);
    assert_eq!(refused(&["-Wl,--no-as-needed", other.to_str().unwrap()]), "needs the library `lib/libother.so` by a relative path; link it by its plain name");
}

#[test]
fn the_pin_is_compared_before_anything_runs() {
    let Some(folder) = folder() else { return };
    let path = folder.built("pinned.so", &["-DNAME=\"pinned\""]);
    let found = inspect(&path, Options::default()).unwrap().sha256;
    let expected = "0".repeat(64);
    let message = refusal(&path, expected.parse().unwrap());
    assert_eq!(message, format!("has sha256 {found}, but {expected} is pinned; if the change is wanted, pin the new one"));
    assert!(!folder.ran());
    load(&LoadRequest::new(&path, found.to_uppercase().parse().unwrap()), &HOST.0).unwrap();
}

#[test]
fn files_that_others_may_change_are_refused_unrun() {
    let Some(folder) = folder() else { return };
    let path = folder.built("mode.so", &["-DNAME=\"mode\""]);
    let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let message = |path: &Path, who: &str, mode: &str| {
        format!("`{}` may be written by {who} (mode {mode}), so the file could be replaced; run `chmod go-w` on it or move the plugin", path.display())
    };
    set(&path, 0o666);
    assert_eq!(folder.refused_unrun(&path), message(&path, "everyone", "0666"));
    set(&path, 0o664);
    assert_eq!(folder.refused_unrun(&path), message(&path, "its group", "0664"));
    set(&path, 0o644);
    for (mode, text) in [(0o777, "0777"), (0o1777, "1777")] {
        // Sticky helps further up only: next to the file, anyone can be first to take its name.
        set(folder.folder.path(), mode);
        assert_eq!(folder.refused_unrun(&path), message(folder.folder.path(), "everyone", text));
        assert!(inspect(&path, Options { permissions: lmprobe_loader::Permissions::Ignored }).is_ok());
    }
    set(folder.folder.path(), 0o755);
    let inner = folder.path("inner");
    fs::create_dir(&inner).unwrap();
    set(&inner, 0o700);
    fs::rename(&path, inner.join("mode.so")).unwrap();
    set(folder.folder.path(), 0o770);
    assert_eq!(folder.refused_unrun(&inner.join("mode.so")), message(folder.folder.path(), "its group", "0770"));
    set(folder.folder.path(), 0o1777);
    loaded(&inner.join("mode.so"));
}

#[test]
fn the_file_of_another_user_is_refused_unrun() {
    let Some(folder) = folder() else { return };
    let path = folder.built("owner.so", &[]);
    if std::os::unix::fs::chown(&path, Some(12345), None).is_err() {
        println!("skipped: only root can give a file away");
        return;
    }
    let message = folder.refused_unrun(&path);
    assert_eq!(message, "belongs to user 12345, not to you (0) or root; copy it to a file of your own");
}

#[test]
fn contents_that_break_a_rule_are_refused_whole() {
    let Some(folder) = folder() else { return };
    let ids = "an id is `vendor/name`, the name 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or a digit";
    let size = |table: &str, found: &str, least: u32| {
        format!("has a table of an impossible size: `struct_size` of `{table}` is {found}; it is a multiple of 8, at least {least} and at most 65536")
    };
    let cases: &[(&[&str], String)] = &[
        (&["-DENTRY_FAILS"], "its entry failed with status 1: the licence file is missing".to_owned()),
        (&["-DENTRY_FAILS", "-DNO_MESSAGE"], "its entry failed with status 1: no message".to_owned()),
        (&["-DENTRY_GIVES_NOTHING"], "its entry gave no plugin though its status says it succeeded".to_owned()),
        (&["-DPLUGIN_SIZE=0"], format!("it {}", size("lmprobe_plugin", "0", 96))),
        (&["-DPLUGIN_SIZE=8"], format!("it {}", size("lmprobe_plugin", "8", 96))),
        (&["-DPLUGIN_SIZE=97"], format!("it {}", size("lmprobe_plugin", "97", 96))),
        (&["-DPLUGIN_SIZE=0xfffffff8u"], format!("it {}", size("lmprobe_plugin", "4294967288", 96))),
        (&["-DCOMPONENT_SIZE=136"], format!("component 0 {}", size("lmprobe_component", "136", 144))),
        (&["-DTABLE_SIZE=8"], format!("component 0 (`acme/share`) {}", size("lmprobe_metric_vt", "8", 16))),
        (&["-DNULL_COMPONENTS"], "it has a null `components`".to_owned()),
        (&["-DNULL_COMPONENT"], "component 0 has a null `component`".to_owned()),
        (&["-DCREATE=NULL"], "component 0 (`acme/share`) has a null `create`".to_owned()),
        (&["-DDESTROY=NULL"], "component 0 (`acme/share`) has a null `destroy`".to_owned()),
        (&["-DNULL_TABLE"], "component 0 (`acme/share`) has a null `vtable`".to_owned()),
        (&["-DCOMPUTE=NULL"], "component 0 (`acme/share`) has no function `compute`, which every metric has".to_owned()),
        (&["-DBAD_UTF8"], "component 0 has an unreadable `id`: byte 5 is not UTF-8".to_owned()),
        (&["-DID=\"other/share\""], "component 0 has the id `other/share`, which is not in the plugin's own namespace `acme/`".to_owned()),
        (&["-DID=\"builtin/acc\""], "component 0 has the id `builtin/acc`, which is not in the plugin's own namespace `acme/`".to_owned()),
        (&["-DNAME=\"builtin\""], "it has the name `builtin`, which is reserved; choose a name of your own".to_owned()),
        (&["-DID=\"share\""], format!("component 0 has the id `share`; {ids}")),
        (&["-DCOUNT=2"], "component 1 has the same kind and id as component 0: metric `acme/share`".to_owned()),
        (&["-DCOUNT=5000"], "it has 5000 components; 4096 is the most".to_owned()),
        (
            &["-DSCHEMA=\"{\""],
            "component 0 (`acme/share`) has an invalid `params_schema`: it is not JSON: EOF while parsing an object at line 1 column 1".to_owned(),
        ),
        (
            &[r#"-DSCHEMA="{\"a\":{\"$ref\":\"http://x\"}}""#],
            "component 0 (`acme/share`) has an invalid `params_schema`: it has a `$ref`; write out what it refers to".to_owned(),
        ),
        (&["-DFACTS=\"[]\""], "component 0 (`acme/share`) has an invalid `facts`: it is not a JSON object".to_owned()),
    ];
    for (switches, message) in cases {
        let path = folder.built("refused.so", switches);
        assert_eq!(refusal(&path, Pin::Unpinned), *message);
        assert!(folder.ran(), "{switches:?}");
    }
}

#[test]
fn the_systems_loader_is_quoted_with_all_causes() {
    let Some(folder) = folder() else { return };
    let message = folder.refused_unrun(&folder.built("undefined.so", &["-DUNDEFINED"]));
    assert!(message.starts_with("cannot be loaded: ") && message.ends_with("undefined symbol: nobody_defines_this"), "{message}");
}

#[test]
fn older_and_newer_minors_work_together() {
    let Some(folder) = folder() else { return };
    // A plugin of a later minor: every table has 64 bytes more, of which nothing may be read.
    let switches = ["-DMINOR=1", "-DNAME=\"newer\"", "-DPLUGIN_SIZE=160", "-DCOMPONENT_SIZE=208", "-DTABLE_SIZE=80"];
    assert_eq!(loaded(&folder.built("newer.so", &switches)).components[0].id, "newer/share");
    // A plugin of 1.0, compiled from its own header, under a host of a later minor.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::copy(root.join("../../tests/abi-history/lmprobe_plugin_1_0.h"), folder.path("lmprobe_plugin.h")).unwrap();
    let old = folder.built_from(&root.join("tests/fixtures/plugin.c"), folder.folder.path(), "old.so", &["-DNAME=\"old\""]);
    let library = load(&LoadRequest::new(&old, Pin::Unpinned), &LATER_HOST.0.table).unwrap();
    assert_eq!(library.components[0].id, "old/share");
    // A kind of a later minor is skipped, and its table is not read.
    let library = loaded(&folder.built("kind.so", &["-DKIND=77", "-DNULL_TABLE", "-DNAME=\"kind\""]));
    assert_eq!((library.components.len(), library.skipped.as_slice()), (0, &[77][..]));
}

#[test]
fn a_file_without_section_headers_has_its_stamp_found_by_the_symbol() {
    let Some(folder) = folder() else { return };
    let mut bytes = fs::read(folder.built("whole.so", &["-DNAME=\"stripped\""])).unwrap();
    // Offset, entry size, number and names of the section headers, as `sstrip` leaves them.
    bytes[40..48].fill(0);
    bytes[58..64].fill(0);
    let path = folder.path("stripped.so");
    fs::write(&path, &bytes).unwrap();
    assert_eq!(inspect(&path, Options::default()).unwrap().abi, (1, 0));
    assert_eq!(loaded(&path).components[0].id, "stripped/share");
}

#[test]
fn each_plugin_sees_its_own_symbols() {
    let Some(folder) = folder() else { return };
    let first = loaded(&folder.built("first.so", &["-DHELPER=11", "-DNAME=\"first\""]));
    let second = loaded(&folder.built("second.so", &["-DHELPER=22", "-DNAME=\"second\""]));
    assert_eq!((helper_of(first), helper_of(second)), (11, 22));
    assert_eq!((first.components[0].id.as_str(), second.components[0].id.as_str()), ("first/share", "second/share"));
}

#[test]
fn the_same_bytes_load_once() {
    let Some(folder) = folder() else { return };
    let path = folder.built("once.so", &["-DNAME=\"once\""]);
    let copy = folder.path("copy.so");
    fs::copy(&path, &copy).unwrap();
    assert!(std::ptr::eq(loaded(&path), loaded(&copy)));
}

#[test]
fn bytes_reach_the_loader_in_three_ways() {
    let Some(folder) = folder() else { return };
    for (via, name) in [(Via::SealedMemory, "memory"), (Via::PrivateFolder, "folder"), (Via::Path, "path")] {
        let path = folder.built(name, &[&format!("-DNAME=\"{name}\"")]);
        let library = load(&LoadRequest { via, ..LoadRequest::new(&path, Pin::Unpinned) }, &HOST.0).unwrap();
        assert_eq!((library.via, library.components[0].id.clone()), (via, format!("{name}/share")));
        // The file may be changed or removed now: it is not what runs, unless that was asked for.
        if via != Via::Path {
            fs::write(&path, b"something else").unwrap();
            assert_eq!(helper_of(library), 1);
        }
    }
    let prefix = format!("lmprobe-plugin-{}-", std::process::id());
    let left = fs::read_dir(std::env::temp_dir()).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(&prefix)).count();
    assert_eq!(left, 0);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn fast_math_changes_nothing_and_is_told() {
    use std::hint::black_box;
    let Some(folder) = folder() else { return };
    let before = floating_point::control();
    let library = loaded(&folder.built("fast.so", &["-ffast-math", "-DNAME=\"fast\""]));
    if !library.changed_floating_point {
        println!("skipped: this compiler links no start-up code for -ffast-math into shared libraries");
    }
    assert_eq!(floating_point::control(), before);
    assert!(black_box(f32::MIN_POSITIVE) * black_box(0.5) > 0.0);
}

#[test]
fn the_end_of_the_program_is_told_once() {
    let Some(folder) = folder() else { return };
    loaded(&folder.built("goodbye.so", &["-DNAME=\"goodbye\""]));
    lmprobe_loader::shutdown_all();
    assert!(folder.path("goodbye").exists());
    fs::remove_file(folder.path("goodbye")).unwrap();
    lmprobe_loader::shutdown_all();
    assert!(!folder.path("goodbye").exists());
}
