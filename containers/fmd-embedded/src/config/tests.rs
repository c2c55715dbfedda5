//! Settings from files, variables and flags.

use std::ffi::OsString;

use super::*;

struct Case {
    dir: tempfile::TempDir,
    flags: Flags,
    environment: Environment,
}

impl Case {
    fn new(yaml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yml");
        std::fs::write(&file, yaml).unwrap();
        let flags = Flags {
            config: Some(file),
            ..Flags::default()
        };
        Case {
            dir,
            flags,
            environment: Environment::new(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.environment
            .insert(OsString::from(name), OsString::from(value));
        self
    }

    fn load(&self) -> Result<Loaded> {
        load(&self.flags, &self.environment)
    }

    fn settings(&self) -> Settings {
        self.load().unwrap().settings
    }

    fn error(&self) -> String {
        format!("{:#}", self.load().unwrap_err())
    }
}

#[test]
fn an_empty_file_gives_upstreams_defaults() {
    let settings = Case::new("").settings();
    assert_eq!(settings.listen, Listen::Tcp { port: 8080 });
    assert_eq!(settings.user_id_length, 5);
    assert_eq!(settings.max_saved_loc, 500);
    assert_eq!(settings.max_saved_pic, 10);
    assert_eq!(settings.registration_token, None);
    assert_eq!(settings.remote_ip_header, None);
    assert_eq!(settings.tile_server_url, DEFAULT_TILE_SERVER_URL);
}

#[test]
fn the_socket_comes_before_the_port() {
    let case = Case::new("UnixSocketPath: /run/x.sock\nPortInsecure: 80\n");
    let path = PathBuf::from("/run/x.sock");
    let mode = Some(0o600);
    assert_eq!(case.settings().listen, Listen::Unix { path, mode });
}

#[test]
fn the_socket_mode_is_octal_however_it_is_written() {
    for spelling in ["0660", "\"0660\"", "0o660", "432"] {
        let yaml = format!("UnixSocketPath: /x\nUnixSocketChmod: {spelling}\n");
        let Listen::Unix { mode, .. } = Case::new(&yaml).settings().listen else {
            panic!("not a socket");
        };
        assert_eq!(mode, Some(0o660), "{spelling}");
    }
}

#[test]
fn keys_ignore_case_and_variables_override_files() {
    let case = Case::new("maxsavedloc: 7\nMAXSAVEDPIC: 8\n").with("FMD_MAXSAVEDPIC", "3");
    assert_eq!(case.settings().max_saved_loc, 7);
    assert_eq!(case.settings().max_saved_pic, 3);
}

#[test]
fn flags_override_variables() {
    let mut case = Case::new("DatabaseDir: /file\n").with("FMD_DATABASEDIR", "/variable");
    assert_eq!(case.settings().database_dir, PathBuf::from("/variable"));
    case.flags.db_dir = Some(PathBuf::from("/flag"));
    assert_eq!(case.settings().database_dir, PathBuf::from("/flag"));
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let case = Case::new("RegistrationToken: s3cret\n").with("FMD_REGISTRATIONTOKEN", "");
    assert_eq!(
        case.settings().registration_token.as_deref(),
        Some("s3cret")
    );
}

#[test]
fn a_malformed_value_is_named_with_file_key_and_value() {
    let case = Case::new("MaxSavedLoc: many\n");
    let file = case.dir.path().join("config.yml");
    let expected = format!(
        "{}: MaxSavedLoc: \"many\": must be a whole number",
        file.display()
    );
    assert_eq!(case.error(), expected);
    for (yaml, value) in [
        ("MaxSavedLoc: -1", "-1"),
        ("MaxSavedPic: 1.5", "1.5"),
        ("UserIdLength: 0", "0"),
        ("UserIdLength: 65", "65"),
        ("PortInsecure: 65536", "65536"),
        ("PortInsecure: [1]", "[1]"),
        ("UnixSocketPath: /x\nUnixSocketChmod: \"0999\"", "0999"),
        ("TileServerUrl: \"a\\nb\"", "a\\nb"),
    ] {
        let error = Case::new(yaml).error();
        assert!(
            error.contains("config.yml") && error.contains(value),
            "{error}"
        );
    }
}

#[test]
fn a_malformed_variable_is_named() {
    let error = Case::new("").with("FMD_MAXSAVEDLOC", "x").error();
    assert_eq!(
        error,
        "variable FMD_MAXSAVEDLOC=\"x\": must be a whole number"
    );
}

#[test]
fn a_malformed_token_is_not_shown() {
    let error = Case::new("RegistrationToken: [hunter2]\n").error();
    assert!(
        !error.contains("hunter2") && error.contains("a list"),
        "{error}"
    );
}

#[test]
fn unknown_keys_are_named_in_a_warning() {
    let case = Case::new("MaxSavedLocs: 1\n")
        .with("FMD_TYPO", "1")
        .with("FMD_STACK_CACHE", "1");
    let remarks = format!("{:?}", case.load().unwrap().remarks);
    let remarks = remarks.replace("Text(", "");
    assert!(remarks.contains("unknown key") && remarks.contains("unknown variable"));
    assert_eq!(case.load().unwrap().remarks.len(), 3, "{remarks}");
}

#[test]
fn tls_keys_are_refused_and_point_to_nginx() {
    for key in ["ServerCrt", "ServerKey"] {
        let error = Case::new(&format!("{key}: /tls/x.pem\n")).error();
        assert!(error.contains("nginx terminates TLS"), "{error}");
        assert!(
            error.contains(key) && error.contains("/tls/x.pem"),
            "{error}"
        );
    }
    Case::new("ServerCrt: \"\"\nPortSecure: -1\n").settings();
}

#[test]
fn no_address_to_listen_on_is_an_error() {
    assert!(
        Case::new("PortInsecure: -1\n")
            .error()
            .contains("PortInsecure")
    );
}

#[test]
fn files_that_cannot_be_used_are_named() {
    for yaml in ["a: [", "- 1\n", "A: 1\na: 2\n", "just text"] {
        let error = Case::new(yaml).error();
        assert!(error.contains("config.yml"), "{error}");
    }
    let mut case = Case::new("");
    case.flags.config = Some(case.dir.path().join("missing.yml"));
    assert!(case.error().contains("missing.yml"));
}
