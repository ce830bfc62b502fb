//! A chain of charters is believed to the letter: signed by a quorum of the one before, in order, and nothing else.

use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::charter::{Amendment, Charter, CharterError, Charters, Consent, Seating};
use forgemesh_protocol::genesis::{Genesis, HubMember, Parameters};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::{SecretKey, Signable, Signed};
use forgemesh_protocol::limits;

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32])
}

fn member(byte: u8) -> HubMember {
    HubMember { key: key(byte).public(), beacon_anchor: Hash([byte; 32]), beacon_length: 8 }
}

fn genesis(hub: &[u8]) -> Genesis {
    Genesis {
        protocol: limits::PROTOCOL_VERSION,
        name: "charters".to_owned(),
        nonce: Bytes(vec![1; 16]),
        hub: hub.iter().map(|byte| member(*byte)).collect(),
        parameters: Parameters::default(),
    }
}

fn next(charters: &Charters, seats: u64, admitted: &[u8]) -> Charter {
    let current = charters.current();
    Charter {
        version: current.version + 1,
        previous: current.digest(),
        seats,
        admitted: admitted.iter().map(|byte| member(*byte)).collect(),
    }
}

fn signed(charters: &Charters, charter: Charter, by: &[u8]) -> Amendment {
    let consent = |byte: &u8| {
        let signed = Signed::new(charter.clone(), charters.mesh(), &key(*byte));
        Consent { key: signed.key, signature: signed.signature }
    };
    Amendment { consents: by.iter().map(consent).collect(), charter }
}

#[test]
fn a_chain_is_followed_and_no_other() {
    let mut charters = Charters::new(genesis(&[1, 2, 3]));
    assert_eq!((charters.current().seats, charters.current().quorum()), (3, 2));
    let first = signed(&charters, next(&charters, 3, &[1, 2, 3, 4]), &[1, 3]);
    charters.amend(first.clone()).expect("it follows");
    // Whom the new charter admits has a say from then on, whom it dismisses has none.
    let second = signed(&charters, next(&charters, 3, &[2, 3, 4]), &[2, 3, 4]);
    charters.amend(second.clone()).expect("it follows");
    assert_eq!(charters.current().version, 2);
    assert!(charters.current().member(&key(1).public()).is_none());
    assert!(charters.member(&key(1).public()).is_some(), "it was admitted once");
    assert_eq!(charters.version(1).map(|charter| charter.admitted.len()), Some(4));
    assert!(charters.version(3).is_none());
    let chain = [first.clone(), second.clone()];
    let read = |genesis: Genesis, chain: &[Amendment]| Charters::read(genesis, chain.iter().cloned());
    assert_eq!(read(genesis(&[1, 2, 3]), &chain).as_ref(), Ok(&charters));
    // Another mesh, another order, a gap, a repetition.
    assert_eq!(read(genesis(&[1, 2, 5]), &chain), Err(CharterError::NotNext));
    assert_eq!(read(genesis(&[1, 2, 3]), &[second.clone(), first.clone()]), Err(CharterError::NotNext));
    assert_eq!(read(genesis(&[1, 2, 3]), &chain[1..]), Err(CharterError::NotNext));
    assert_eq!(read(genesis(&[1, 2, 3]), &[first.clone(), first]), Err(CharterError::NotNext));
}

#[test]
fn a_quorum_of_distinct_admitted_keys_signs_for_this_mesh() {
    let charters = Charters::new(genesis(&[1, 2, 3]));
    let charter = next(&charters, 3, &[1, 2, 4]);
    let refused = |amendment: Amendment| charters.clone().amend(amendment);
    let good = signed(&charters, charter.clone(), &[1, 2]);
    assert_eq!(refused(good.clone()), Ok(()));
    for by in [&[][..], &[1], &[1, 1], &[1, 4], &[1, 2, 9]] {
        assert_eq!(refused(signed(&charters, charter.clone(), by)), Err(CharterError::NotSigned), "{by:?}");
    }
    let elsewhere = Charters::new(genesis(&[1, 2]));
    let foreign = signed(&elsewhere, charter, &[1, 2]);
    assert_eq!(refused(foreign), Err(CharterError::NotSigned));
    // Of four whom a charter admits, two are as many as the other two.
    let mut four = Charters::new(genesis(&[1, 2, 3]));
    four.amend(signed(&four, next(&four, 3, &[1, 2, 3, 4]), &[1, 2])).expect("it follows");
    let half = signed(&four, next(&four, 3, &[1, 2, 3]), &[3, 4]);
    assert_eq!(four.amend(half), Err(CharterError::NotSigned));
    let mut changed = good;
    changed.charter.admitted[2].beacon_anchor = Hash::ZERO;
    assert_eq!(refused(changed), Err(CharterError::NotSigned));
}

#[test]
fn seats_keys_and_beacons_are_bounded() {
    let charters = Charters::new(genesis(&[1, 2, 3]));
    let refused = |change: fn(&mut Charter)| {
        let mut charter = next(&charters, 3, &[1, 2, 3, 4]);
        change(&mut charter);
        charters.check(&charter).expect_err("refused")
    };
    // With one seat, whoever stands by could sign alone as well as who sits.
    for seats in [0, 1, 2, 4, 5, 7, u64::MAX] {
        let charter = Charter { seats, ..next(&charters, 3, &[1, 2, 3, 4]) };
        assert_eq!(charters.check(&charter), Err(CharterError::Seats), "{seats}");
    }
    assert_eq!(refused(|c| c.admitted.push(member(4))), CharterError::Admitted);
    assert_eq!(refused(|c| c.admitted.extend((5..30).map(member))), CharterError::Admitted);
    assert_eq!(refused(|c| c.admitted[0].beacon_anchor = Hash::ZERO), CharterError::Beacon);
    assert_eq!(refused(|c| c.admitted[3].beacon_length = 0), CharterError::Beacon);
    assert_eq!(refused(|c| c.admitted.truncate(3)), CharterError::Same);
    assert_eq!(refused(|c| c.version = 2), CharterError::NotNext);
    // Who comes back has the beacon chain that it had, or its old links could be shown again.
    let mut charters = charters;
    let without = signed(&charters, next(&charters, 1, &[1]), &[1, 2]);
    charters.amend(without).expect("it follows");
    let mut back = next(&charters, 3, &[1, 2, 3]);
    assert_eq!(charters.check(&back), Ok(()));
    back.admitted[2].beacon_anchor = Hash::ZERO;
    assert_eq!(charters.check(&back), Err(CharterError::Beacon));
}

#[test]
fn a_mesh_is_changed_so_often_and_no_more() {
    let mut charters = Charters::new(genesis(&[1]));
    for i in 0..limits::AMENDMENTS {
        let (seats, admitted): (u64, &[u8]) = if i % 2 == 0 { (3, &[1, 2, 3]) } else { (1, &[1]) };
        let by: &[u8] = if i % 2 == 0 { &[1] } else { &[1, 2] };
        let amendment = signed(&charters, next(&charters, seats, admitted), by);
        charters.amend(amendment).expect("it follows");
    }
    let one_more = next(&charters, 3, &[1, 2, 3]);
    assert_eq!(charters.check(&one_more), Err(CharterError::TooMany));
}

#[test]
fn those_who_sit_are_admitted_and_fill_the_seats() {
    let genesis = genesis(&[1, 2, 3]);
    let good = Seating::of(&genesis);
    assert!(good.charters(genesis.clone()).is_ok());
    let ids: Vec<_> = (1..5).map(|byte| key(byte).public().id()).collect();
    for seated in [&ids[..2], &ids[..4], &[ids[0], ids[1], ids[1]], &[ids[0], ids[1], ids[3]]] {
        let told = Seating { number: 1, seated: seated.to_vec(), amendments: Vec::new() };
        assert_eq!(told.charters(genesis.clone()).err(), Some(CharterError::Seats));
    }
}
