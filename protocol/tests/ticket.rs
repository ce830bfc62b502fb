//! A ticket as text: what is read again, and every way in which a text is refused, by name.

use forgemesh_protocol::base64;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::genesis::{Genesis, HubMember, Parameters};
use forgemesh_protocol::hash::{Domain, Hash};
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::ticket::{Ticket, TicketError};

const NOW_MS: u64 = 1_767_225_600_000;

fn member() -> SecretKey {
    SecretKey::from_bytes(&[1; 32])
}

fn ticket() -> Ticket {
    let member = HubMember { key: member().public(), beacon_anchor: Hash([2; 32]), beacon_length: 8 };
    let parameters = Parameters { open: false, ..Parameters::default() };
    let (name, nonce) = ("ticket".to_owned(), Bytes(vec![3; 16]));
    Ticket {
        seating: None,
        genesis: Genesis { protocol: limits::PROTOCOL_VERSION, name, nonce, hub: vec![member], parameters },
        bootstrap: vec!["/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWexample".to_owned()],
        network_key: Some(Bytes(vec![4; 32])),
        secret: Bytes(vec![5; 32]),
        expires_ms: NOW_MS + 60_000,
        organization: None,
    }
}

/// The text of any bytes, with the checksum that they need.
fn text_of(mut bytes: Vec<u8>) -> String {
    let check = Hash::of(Domain::TICKET_CHECK, &bytes).0;
    bytes.extend_from_slice(&check[..4]);
    format!("fmt1{}", base64::encode_url(&bytes))
}

#[test]
fn a_ticket_is_read_as_it_was_issued() {
    let text = ticket().issue(&member());
    assert_eq!(Ticket::read(&text, NOW_MS), Ok(ticket()));
    assert!(text.len() < 1_000, "{} characters are no line to paste", text.len());
    let (head, tail) = text.split_at(80);
    assert_eq!(
        Ticket::read(&format!("  {head}\n  {tail}\n"), NOW_MS),
        Ok(ticket()),
        "as a terminal breaks it"
    );
    let open = Ticket { network_key: None, bootstrap: Vec::new(), ..ticket() };
    assert_eq!(Ticket::read(&open.clone().issue(&member()), NOW_MS), Ok(open));
    let of = Ticket { organization: Some("acme".parse().expect("an organization")), ..ticket() };
    assert_eq!(Ticket::read(&of.clone().issue(&member()), NOW_MS), Ok(of));
}

#[test]
fn every_changed_character_is_noticed() {
    let text = ticket().issue(&member());
    for at in 4..text.len() {
        for new in ['A', 'z', '-', '='] {
            let mut changed = text.clone();
            changed.replace_range(at..=at, &new.to_string());
            if changed != text {
                assert_eq!(Ticket::read(&changed, NOW_MS), Err(TicketError::Damaged), "{new} at {at}");
            }
        }
        let shorter = Ticket::read(&text[..at], NOW_MS);
        assert_eq!(shorter, Err(TicketError::Damaged), "cut at {at}");
    }
}

#[test]
fn what_is_no_ticket_is_told_so() {
    for text in ["", "fm", "fmt", "fmtx", "hello", "/ip4/127.0.0.1", "{}"] {
        assert_eq!(Ticket::read(text, NOW_MS), Err(TicketError::NotATicket), "{text:?}");
    }
    let found = "fmt2".to_owned();
    assert_eq!(Ticket::read("fmt2AAAA", NOW_MS), Err(TicketError::Version { found }));
    let length = limits::TICKET_BYTES + 1;
    assert_eq!(Ticket::read(&"a".repeat(length), NOW_MS), Err(TicketError::TooLong { length }));
}

#[test]
fn an_expired_ticket_says_for_how_long() {
    let text = ticket().issue(&member());
    let end = ticket().expires_ms;
    assert!(Ticket::read(&text, end).is_ok());
    assert_eq!(Ticket::read(&text, end + 1), Err(TicketError::Expired { late_ms: 1 }));
    let told = Ticket::read(&text, end + 3 * 3_600_000).unwrap_err().to_string();
    assert!(told.contains("3 h ago") && told.contains("ticket create"), "{told}");
}

#[test]
fn only_a_hub_member_of_its_own_mesh_issues_a_ticket() {
    let stranger = SecretKey::from_bytes(&[9; 32]);
    assert_eq!(Ticket::read(&ticket().issue(&stranger), NOW_MS), Err(TicketError::NotSigned));
    let mesh = ticket().genesis.mesh_id();
    let mut changed = Signed::new(ticket(), mesh, &member());
    changed.body.expires_ms += 1;
    assert_eq!(Ticket::read(&text_of(canon::to_bytes(&changed)), NOW_MS), Err(TicketError::NotSigned));
    // Signed for another mesh than the one it names.
    let elsewhere = Signed::new(ticket(), forgemesh_protocol::id::MeshId(Hash([8; 32])), &member());
    assert_eq!(Ticket::read(&text_of(canon::to_bytes(&elsewhere)), NOW_MS), Err(TicketError::NotSigned));
}

#[test]
fn bounds_are_held() {
    let refused = |change: &dyn Fn(&mut Ticket)| {
        let mut changed = ticket();
        change(&mut changed);
        Ticket::read(&changed.issue(&member()), NOW_MS).expect_err("out of bounds")
    };
    assert_eq!(refused(&|ticket| ticket.secret.0.truncate(31)), TicketError::Bounds);
    assert_eq!(refused(&|ticket| ticket.network_key = Some(Bytes(vec![0; 33]))), TicketError::Bounds);
    let many = vec![ticket().bootstrap[0].clone(); limits::BOOTSTRAP + 1];
    assert_eq!(refused(&|ticket| ticket.bootstrap.clone_from(&many)), TicketError::Bounds);
    for address in ["/ip4/127.0.0.1/tcp/1", "tcp/p2p/", "/p2p/\n", &format!("/p2p/{}", "x".repeat(300))] {
        assert_eq!(refused(&|ticket| ticket.bootstrap = vec![address.to_owned()]), TicketError::Bounds);
    }
    assert!(matches!(refused(&|ticket| ticket.genesis.protocol = 2), TicketError::Genesis(_)));
    assert!(matches!(refused(&|ticket| ticket.genesis.hub.clear()), TicketError::Genesis(_)));
    let twice = [canon::to_bytes(&Signed::new(ticket(), ticket().genesis.mesh_id(), &member())), vec![0]];
    assert!(matches!(Ticket::read(&text_of(twice.concat()), NOW_MS), Err(TicketError::Content(_))));
}
