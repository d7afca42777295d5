//! Fields of policies this proxy does not know. Generated code drops them; but a policy with a
//! condition that is not read is another policy: an ALLOW allows more, a DENY denies less.
use super::protobuf::{Value, fields};
use crate::resource::ResourceError;

/// A message and the fields of it this proxy reads, each with the message it holds.
struct Message {
    name: &'static str,
    fields: &'static [(u32, Option<&'static Message>)],
}

static AUTHORIZATION: Message = Message {
    name: "Authorization",
    fields: &[
        (1, None),
        (2, None),
        (3, None),
        (4, None),
        (5, Some(&RULE)),
        (6, None),
    ],
};

static RULE: Message = Message {
    name: "Rule",
    fields: &[(1, Some(&CLAUSE))],
};

static CLAUSE: Message = Message {
    name: "Clause",
    fields: &[(2, Some(&MATCH))],
};

static MATCH: Message = Message {
    name: "Match",
    fields: &[
        (1, Some(&STRING_MATCH)),
        (2, Some(&STRING_MATCH)),
        (3, Some(&STRING_MATCH)),
        (4, Some(&STRING_MATCH)),
        (5, Some(&ADDRESS)),
        (6, Some(&ADDRESS)),
        (7, Some(&ADDRESS)),
        (8, Some(&ADDRESS)),
        (9, None),
        (10, None),
        (11, Some(&SERVICE_ACCOUNT_MATCH)),
        (12, Some(&SERVICE_ACCOUNT_MATCH)),
    ],
};

static STRING_MATCH: Message = Message {
    name: "StringMatch",
    fields: &[(1, None), (2, None), (3, None), (4, Some(&PRESENCE))],
};

static PRESENCE: Message = Message {
    name: "StringMatch.presence",
    fields: &[],
};

static ADDRESS: Message = Message {
    name: "Address",
    fields: &[(1, None), (2, None)],
};

static SERVICE_ACCOUNT_MATCH: Message = Message {
    name: "ServiceAccountMatch",
    fields: &[(1, None), (2, None)],
};

/// Whether `authorization`, an encoded policy, has only fields this proxy knows.
///
/// # Errors
/// The first field that is not known, or that the bytes are no message.
pub fn authorization(authorization: &[u8]) -> Result<(), ResourceError> {
    only_known(authorization, &AUTHORIZATION)
}

/// As deep as the messages above are nested, and no deeper.
fn only_known(bytes: &[u8], message: &'static Message) -> Result<(), ResourceError> {
    for field in fields(bytes) {
        let (number, value) =
            field.map_err(|_| ResourceError::Decode(format!("{} is cut off", message.name)))?;
        let known = message.fields.iter().find(|(known, _)| *known == number);
        let Some((_, nested)) = known else {
            return Err(ResourceError::UnknownField {
                message: message.name,
                field: number,
            });
        };
        if let (Some(nested), Value::Bytes(bytes)) = (nested, value) {
            only_known(bytes, nested)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use prost::Message as _;
    use tulle_wire::security as wire;
    use wire::string_match::MatchType;

    /// A policy in which every field of every message is set.
    fn full() -> wire::Authorization {
        let texts: Vec<_> = [
            MatchType::Exact("a".into()),
            MatchType::Prefix("b".into()),
            MatchType::Suffix("c".into()),
            MatchType::Presence(()),
        ]
        .into_iter()
        .map(|text| wire::StringMatch {
            match_type: Some(text),
        })
        .collect();
        let nets = vec![wire::Address {
            address: vec![10, 0, 0, 0].into(),
            length: 8,
        }];
        let accounts = vec![wire::ServiceAccountMatch {
            namespace: "shop".into(),
            service_account: "cart".into(),
        }];
        let all = wire::Match {
            namespaces: texts.clone(),
            not_namespaces: texts.clone(),
            principals: texts.clone(),
            not_principals: texts,
            source_ips: nets.clone(),
            not_source_ips: nets.clone(),
            destination_ips: nets.clone(),
            not_destination_ips: nets,
            destination_ports: vec![1, 2],
            not_destination_ports: vec![3],
            service_accounts: accounts.clone(),
            not_service_accounts: accounts,
        };
        wire::Authorization {
            name: "p".into(),
            namespace: "shop".into(),
            scope: wire::Scope::Namespace.into(),
            action: wire::Action::Deny.into(),
            rules: vec![wire::Rule {
                clauses: vec![wire::Clause { matches: vec![all] }],
            }],
            dry_run: true,
        }
    }

    /// Puts `inner` into fields of the given numbers, the outermost first.
    fn wrapped(path: &[u8], inner: &[u8]) -> Vec<u8> {
        path.iter().rev().fold(inner.to_vec(), |inner, number| {
            let length = u8::try_from(inner.len()).unwrap();
            [vec![number << 3 | 2, length], inner].concat()
        })
    }

    #[test]
    fn every_field_of_the_wire_is_known() {
        assert_eq!(authorization(&full().encode_to_vec()), Ok(()));
        assert_eq!(authorization(&[]), Ok(()));
    }

    #[test]
    fn r33_a_field_of_a_newer_control_plane_is_seen_wherever_it_is() {
        // Field 15, a number.
        let newer = [0x78, 1];
        for (path, message) in [
            (&[][..], "Authorization"),
            (&[5], "Rule"),
            (&[5, 1], "Clause"),
            (&[5, 1, 2], "Match"),
            (&[5, 1, 2, 3], "StringMatch"),
            (&[5, 1, 2, 4, 4], "StringMatch.presence"),
            (&[5, 1, 2, 8], "Address"),
            (&[5, 1, 2, 12], "ServiceAccountMatch"),
        ] {
            let bytes = wrapped(path, &newer);
            // The generated code does not mind: that is why it is looked for.
            assert!(wire::Authorization::decode(bytes.as_slice()).is_ok());
            let unknown = ResourceError::UnknownField { message, field: 15 };
            assert_eq!(authorization(&bytes), Err(unknown));
        }
    }

    #[test]
    fn r28_damaged_policies_never_panic() {
        let good = full().encode_to_vec();
        fuzz::rounds(30_000, |random| {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            bytes.truncate(random.usize(..=bytes.len()));
            let _ = authorization(&bytes);
        });
    }
}
