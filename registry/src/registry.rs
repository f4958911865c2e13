//! Look-up of plugins by name.

use lmprobe_core::{Error, Kind, Registration, Result, inventory};

use crate::suggestion::{nearest, quoted};

/// All plugins of this process; sorted by kind and name, and frozen.
#[derive(Clone)]
pub struct Registry {
    registrations: Vec<&'static Registration>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.registrations.iter().map(|registration| registration.id)).finish()
    }
}

impl Registry {
    /// The plugins that are linked into the program.
    ///
    /// # Errors
    /// If two plugins of one kind have one name.
    pub fn builtin() -> Result<Self> {
        Self::from_registrations(inventory::iter::<Registration>.into_iter().collect())
    }

    /// A registry of exactly these plugins.
    ///
    /// # Errors
    /// If two plugins of one kind have one name.
    pub fn from_registrations(mut registrations: Vec<&'static Registration>) -> Result<Self> {
        registrations.sort_by_key(|registration| (registration.kind(), registration.id));
        for pair in registrations.windows(2) {
            if (pair[0].kind(), pair[0].id) == (pair[1].kind(), pair[1].id) {
                return Err(Error::Config(format!("two {} are called `{}`: {} and {}", pair[0].kind().plural(), pair[0].id, pair[0].origin, pair[1].origin)));
            }
        }
        Ok(Self { registrations })
    }

    /// All plugins, by kind and then by name.
    pub fn all(&self) -> &[&'static Registration] {
        &self.registrations
    }

    /// The plugins of a kind, by name.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &'static Registration> {
        self.registrations.iter().copied().filter(move |registration| registration.kind() == kind)
    }

    /// The plugin of this kind and name.
    ///
    /// # Errors
    /// If there is none; the error knows what was probably meant.
    pub fn find(&self, kind: Kind, id: &str) -> Result<&'static Registration, Unknown> {
        if let Some(registration) = self.of(kind).find(|registration| registration.id == id) {
            return Ok(registration);
        }
        let ids = || self.of(kind).map(|registration| registration.id);
        let nearest = nearest(id, ids());
        // A plugin of that very name but of another kind explains more than a similar name of the right kind.
        if let Some(other) = self.registrations.iter().find(|registration| registration.id == id) {
            return Err(Unknown::OtherKind { id: id.to_owned(), kind: other.kind(), wanted: kind });
        }
        match nearest {
            Some(meant) => Err(Unknown::Misspelt { id: id.to_owned(), kind, meant }),
            None => Err(Unknown::Unheard { id: id.to_owned(), kind, known: ids().collect() }),
        }
    }
}

/// Why a plugin was not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// There is a plugin of that name, but of another kind.
    #[error("`{id}` is {}, not {}", with_article(*kind), with_article(*wanted))]
    OtherKind {
        /// The name.
        id: String,
        /// What it is.
        kind: Kind,
        /// What was looked for.
        wanted: Kind,
    },
    /// A plugin has a similar name.
    #[error("unknown {} `{id}`; did you mean `{meant}`?", kind.word())]
    Misspelt {
        /// The name.
        id: String,
        /// What was looked for.
        kind: Kind,
        /// The similar name.
        meant: &'static str,
    },
    /// Nothing is similar.
    #[error("unknown {} `{id}`; {}", kind.word(), known_ids(*kind, known))]
    Unheard {
        /// The name.
        id: String,
        /// What was looked for.
        kind: Kind,
        /// All names of that kind.
        known: Vec<&'static str>,
    },
}

impl Unknown {
    /// The name that was looked for.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::OtherKind { id, .. } | Self::Misspelt { id, .. } | Self::Unheard { id, .. } => id,
        }
    }

    /// The message without the hint.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::OtherKind { .. } => self.to_string(),
            Self::Misspelt { id, kind, .. } | Self::Unheard { id, kind, .. } => format!("unknown {} `{id}`", kind.word()),
        }
    }

    /// What was probably meant, or all that would have been right.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::OtherKind { .. } => None,
            Self::Misspelt { meant, .. } => Some(format!("did you mean `{meant}`?")),
            Self::Unheard { kind, known, .. } => Some(known_ids(*kind, known)),
        }
    }
}

fn known_ids(kind: Kind, known: &[&str]) -> String {
    if known.is_empty() { format!("no {} is registered", kind.word()) } else { format!("known {}: {}", kind.plural(), quoted(known.iter().copied())) }
}

fn with_article(kind: Kind) -> String {
    let article = if matches!(kind, Kind::Encoder | Kind::Objective) { "an" } else { "a" };
    format!("{article} {}", kind.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn message(kind: Kind, id: &str) -> String {
        fixtures::registry().find(kind, id).err().unwrap().to_string()
    }

    #[test]
    fn a_plugin_is_found_by_kind_and_name() {
        assert_eq!(fixtures::registry().find(Kind::Prober, "fill-mask").unwrap().id, "fill-mask");
    }

    #[test]
    fn an_unknown_name_says_what_was_probably_meant() {
        assert_eq!(message(Kind::Prober, "fil-mask"), "unknown prober `fil-mask`; did you mean `fill-mask`?");
        assert_eq!(message(Kind::Encoder, "fill-mask"), "`fill-mask` is a prober, not an encoder");
        assert_eq!(message(Kind::Objective, "xyz"), "unknown objective `xyz`; known objectives: `contrastive`");
    }

    #[test]
    fn two_plugins_of_one_name_are_named_with_their_files() {
        let twice = vec![&fixtures::FILL_MASK, &fixtures::FILL_MASK];
        let message = Registry::from_registrations(twice).err().unwrap().to_string();
        assert!(message.starts_with("two probers are called `fill-mask`: registry/src/fixtures.rs:"), "{message}");
    }

    #[test]
    fn plugins_are_sorted_by_kind_and_name() {
        let registry = fixtures::registry();
        let order: Vec<_> = registry.all().iter().map(|registration| (registration.kind(), registration.id)).collect();
        assert!(order.is_sorted());
    }

    #[test]
    fn the_built_in_plugins_have_no_duplicate() {
        Registry::builtin().unwrap();
    }
}
