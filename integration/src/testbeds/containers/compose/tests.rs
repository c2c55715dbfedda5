use super::*;

const HEAD: &str =
    "networks:\n  front:\nservices:\n  nginx:\n    image: nginx\n    networks: [front]\n";

fn parse(text: &str) -> Result<Compose> {
    Compose::parse("compose.yaml", text, &BTreeMap::new())
}

fn error(text: &str) -> String {
    format!("{:#}", parse(text).expect_err("a bad file was accepted"))
}

#[test]
fn the_shipped_file_is_understood() {
    let text = include_str!("../../../../../containers/compose.yaml");
    let compose = parse(text).unwrap();
    let fail2ban = compose.service("fail2ban").unwrap();
    assert_eq!(
        fail2ban.cap_add.as_deref(),
        Some(&["NET_ADMIN".to_owned()][..])
    );
    assert_eq!(fail2ban.networking().unwrap(), Networking::Of("nginx"));
    for (name, service) in &compose.services {
        assert_eq!(
            service.cap_drop.as_deref(),
            Some(&["ALL".to_owned()][..]),
            "{name}"
        );
        assert_eq!(service.read_only, Some(true), "{name}");
    }
}

#[test]
fn an_unknown_key_is_an_error_with_its_line() {
    let text = error(&format!("{HEAD}    privileged: true\n"));
    assert!(text.starts_with("compose.yaml:7:"), "{text}");
    assert!(text.contains("privileged"), "{text}");
}

#[test]
fn an_unknown_top_level_key_is_an_error() {
    let text = error(&format!("{HEAD}secrets: {{}}\n"));
    assert!(text.contains("secrets"), "{text}");
}

#[test]
fn broken_yaml_is_an_error_with_its_line() {
    let text = error("services:\n  nginx: [\n");
    assert!(
        text.starts_with("compose.yaml:3:") || text.starts_with("compose.yaml:2:"),
        "{text}"
    );
}

#[test]
fn a_value_of_the_wrong_kind_names_its_place() {
    let text = error(&format!("{HEAD}    ports: [\"http:80\"]\n"));
    assert!(
        text.contains("compose.yaml:7") && text.contains("ports"),
        "{text}"
    );
}

#[test]
fn what_is_referred_to_must_exist() {
    assert!(
        error(&HEAD.replace("front:\n", "back:\n"))
            .contains("services.nginx.networks: no network front")
    );
    let volumes = format!("{HEAD}    volumes: [\"db:/var/lib/db\"]\n");
    assert!(error(&volumes).contains("no volume db"));
}

#[test]
fn variables_take_their_default() {
    let known = BTreeMap::from([
        ("A".to_owned(), "1".to_owned()),
        ("EMPTY".to_owned(), String::new()),
    ]);
    let text = interpolate("x: ${A}-${B:-two}-${EMPTY:-three}-$$5", &known).unwrap();
    assert_eq!(text, "x: 1-two-three-$5\n");
    assert!(format!("{:#}", interpolate("\nx: ${C}", &known).unwrap_err()).contains("line 2"));
}

#[test]
fn what_is_set_wins_over_what_is_merged() {
    let text = "x-service: &common\n  init: true\n  user: \"0\"\n\
                services:\n  a:\n    <<: *common\n    image: a\n    user: \"1\"\n    network_mode: none\n";
    let compose = parse(text).unwrap();
    let service = compose.service("a").unwrap();
    assert_eq!(
        (service.init, service.user.as_deref()),
        (Some(true), Some("1"))
    );
}
