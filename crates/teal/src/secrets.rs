//! What the models hold and nobody else is to read: keys of object storage, passwords in settings. The statements
//! of a plan and the errors about them hold it too, so that it is taken out of every text that is shown.

use std::borrow::Cow;

use parking_lot::RwLock;
use teal_catalog::HIDDEN;
use teal_schema::Schema;

static KNOWN: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// From now on, the secrets of these models are not shown.
pub(crate) fn learn(schema: &Schema) {
    KNOWN.write().extend(schema.tables.iter().flat_map(teal_schema::Table::secrets));
}

/// A text without the secrets of the models.
pub(crate) fn hidden(text: &str) -> Cow<'_, str> {
    hidden_of(&KNOWN.read(), text)
}

fn hidden_of<'t>(secrets: &[String], text: &'t str) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    for secret in secrets {
        // In JSON too; and of a statement that is cut off within one, there is its beginning.
        let in_json = serde_json::Value::from(secret.as_str()).to_string();
        let in_json = in_json.trim_matches('"');
        for secret in [secret.as_str(), in_json] {
            if text.contains(secret) {
                text = text.replace(secret, &format!("'{HIDDEN}'")).into();
            }
            let cuts = text.match_indices(" …").map(|(at, _)| at).collect::<Vec<_>>();
            for at in cuts.into_iter().rev() {
                let before = text.get(..at).unwrap_or_default();
                let lengths = secret.char_indices().map(|(at, _)| at).filter(|length| *length > 1);
                let begun = lengths.rev().find(|length| before.ends_with(&secret[..*length]));
                if let Some(length) = begun {
                    let mut whole = text.into_owned();
                    whole.replace_range(at - length..at, &format!("'{HIDDEN}'"));
                    text = whole.into();
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_in_no_text_not_even_in_part() {
        let secrets = ["'hunter2'".to_owned(), "'a\\\\b\"c'".to_owned()];
        let hidden = |text: &str| hidden_of(&secrets, text).into_owned();
        assert_eq!(hidden("S3('u', 'id', 'hunter2', 'CSV')"), "S3('u', 'id', '[HIDDEN]', 'CSV')");
        let json = serde_json::Value::from("f('a\\\\b\"c', 'hunter2')").to_string();
        assert_eq!(hidden(&json), "\"f('[HIDDEN]', '[HIDDEN]')\"");
        assert_eq!(hidden("S3('u', 'id', 'hun …"), "S3('u', 'id', '[HIDDEN]' …");
        assert_eq!(hidden("S3('u', 'i …, hunter …"), "S3('u', 'i …, hunter …");
    }
}
