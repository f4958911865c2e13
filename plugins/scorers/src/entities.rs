//! Entities as spans: read from tag sequences, and compared by kind, start and end.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{AddAssign, Range};

use serde::Serialize;

use crate::{Counts, Error, Result, Scores};

/// How tags are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// As `conlleval.pl` and seqeval in its default mode: any tag other than `O` that cannot continue what stands before it begins an entity. The first
    /// character is the tag, the type is what follows the first hyphen.
    Conlleval,
    /// `B` begins, `I` of the same type continues; any other `I` is ill-formed and belongs to no entity.
    Iob2Strict,
    /// `B I* E` and `S`; whatever does not complete such an entity is ill-formed and belongs to none.
    IobesStrict,
}

/// An entity: its kind and the tokens it covers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Entity {
    /// The type behind the hyphen; empty where tags have none.
    pub kind: String,
    /// Its first token.
    pub start: usize,
    /// One behind its last token.
    pub end: usize,
}

impl Entity {
    fn new(kind: &str, tokens: Range<usize>) -> Self {
        Self { kind: kind.to_owned(), start: tokens.start, end: tokens.end }
    }
}

/// The entities of a sentence, in order, and how many of its tags belong to none although they should.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans {
    /// In the order of their first tokens; no two overlap.
    pub entities: Vec<Entity>,
    /// Tags other than `O` that the scheme does not let be part of an entity; always 0 with [`Scheme::Conlleval`].
    pub ill_formed: u64,
}

impl Spans {
    /// Reads the tags of a sentence.
    ///
    /// # Errors
    ///
    /// If a tag is empty, or, except with [`Scheme::Conlleval`], not one of the scheme.
    pub fn read<T: AsRef<str>>(tags: &[T], scheme: Scheme) -> Result<Self> {
        let tags: Vec<Tag> = tags.iter().enumerate().map(|(position, tag)| Tag::parse(tag.as_ref(), position, scheme)).collect::<Result<_>>()?;
        Ok(match scheme {
            Scheme::Conlleval => Self { entities: lenient(&tags), ill_formed: 0 },
            Scheme::Iob2Strict => iob2(&tags),
            Scheme::IobesStrict => iobes(&tags),
        })
    }
}

/// Correct, found and gold entities of each kind and in total. An entity is correct if kind, start and end are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EntityCounts {
    /// By kind, those without a gold entity included.
    pub by_kind: BTreeMap<String, Counts>,
    /// Spans, whatever their kind.
    pub spans: Counts,
    /// Ill-formed tags of the gold.
    pub ill_formed_gold: u64,
    /// Ill-formed tags of the prediction.
    pub ill_formed_found: u64,
}

impl EntityCounts {
    /// Counts one sentence.
    ///
    /// # Errors
    ///
    /// If gold and prediction differ in length, or a tag is not one of the scheme.
    pub fn of<G: AsRef<str>, P: AsRef<str>>(gold: &[G], predicted: &[P], scheme: Scheme) -> Result<Self> {
        if gold.len() != predicted.len() {
            return Err(Error::Lengths { what: "tags", gold: gold.len(), predicted: predicted.len() });
        }
        Ok(Self::of_spans(&Spans::read(gold, scheme)?, &Spans::read(predicted, scheme)?))
    }

    /// Counts the spans of one sentence.
    pub fn of_spans(gold: &Spans, predicted: &Spans) -> Self {
        let mut counts = Self { ill_formed_gold: gold.ill_formed, ill_formed_found: predicted.ill_formed, ..Self::default() };
        let wanted: BTreeSet<&Entity> = gold.entities.iter().collect();
        let places: BTreeSet<(usize, usize)> = gold.entities.iter().map(|entity| (entity.start, entity.end)).collect();
        for entity in &wanted {
            counts.kind(&entity.kind).gold += 1;
        }
        for entity in predicted.entities.iter().collect::<BTreeSet<_>>() {
            let kind = counts.kind(&entity.kind);
            kind.found += 1;
            kind.correct += u64::from(wanted.contains(entity));
            counts.spans.found += 1;
            counts.spans.correct += u64::from(places.contains(&(entity.start, entity.end)));
        }
        counts.spans.gold = places.len() as u64;
        counts
    }

    /// All kinds together: the counts behind the micro-averaged scores.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.by_kind.values().for_each(|counts| total += *counts);
        total
    }

    /// Precision, recall and F1 over all entities.
    pub fn micro(&self) -> Scores {
        self.total().scores()
    }

    /// The unweighted mean over the kinds that occur in gold or prediction.
    pub fn macro_mean(&self) -> Scores {
        Scores::mean(self.by_kind.values().copied())
    }

    fn kind(&mut self, kind: &str) -> &mut Counts {
        if !self.by_kind.contains_key(kind) {
            self.by_kind.insert(kind.to_owned(), Counts::default());
        }
        self.by_kind.get_mut(kind).expect("just inserted")
    }
}

impl AddAssign<&Self> for EntityCounts {
    fn add_assign(&mut self, other: &Self) {
        for (kind, counts) in &other.by_kind {
            *self.kind(kind) += *counts;
        }
        self.spans += other.spans;
        self.ill_formed_gold += other.ill_formed_gold;
        self.ill_formed_found += other.ill_formed_found;
    }
}

impl AddAssign for EntityCounts {
    fn add_assign(&mut self, other: Self) {
        *self += &other;
    }
}

#[derive(Debug, Clone, Copy)]
struct Tag<'a> {
    letter: char,
    kind: &'a str,
}

impl<'a> Tag<'a> {
    fn parse(tag: &'a str, position: usize, scheme: Scheme) -> Result<Self> {
        let refused = |message| Error::Tag { tag: tag.to_owned(), position, message };
        let letter = tag.chars().next().ok_or_else(|| refused("a tag has at least one letter"))?;
        let rest = &tag[letter.len_utf8()..];
        if scheme == Scheme::Conlleval {
            return Ok(Self { letter, kind: rest.split_once('-').map_or(rest, |(_, kind)| kind) });
        }
        let (letters, expected) = match scheme {
            Scheme::Iob2Strict => ("BI", "IOB2 has `O`, `B-type`, `I-type`, or `B` and `I` without types"),
            _ => ("BIES", "IOBES has `O`, `B-type`, `I-type`, `E-type`, `S-type`, or the letters without types"),
        };
        let kind = if rest.is_empty() { Some("") } else { rest.strip_prefix('-').filter(|kind| !kind.is_empty()) };
        match kind {
            Some(kind) if letters.contains(letter) => Ok(Self { letter, kind }),
            // `O-MISC` is what BioBERT's scripts write for `O`.
            Some(_) if letter == 'O' => Ok(Self { letter, kind: "" }),
            _ => Err(refused(expected)),
        }
    }
}

/// The rules of seqeval 1.2.2 (`get_entities` without `suffix`), but that what begins ends what is open: of letters that seqeval does not know, as `L` in `B-X L-X B-X`,
/// it loses the entity before.
fn lenient(tags: &[Tag]) -> Vec<Entity> {
    let mut entities = Vec::new();
    let mut open = None;
    let mut last = Tag { letter: 'O', kind: "" };
    let outside = [Tag { letter: 'O', kind: "" }];
    for (position, tag) in tags.iter().chain(&outside).enumerate() {
        let inside = |letter| !matches!(letter, 'O' | '.');
        let changes = last.kind != tag.kind;
        let ends = matches!((last.letter, tag.letter), ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O')) || inside(last.letter) && changes;
        let starts = matches!((last.letter, tag.letter), (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I')) || inside(tag.letter) && changes;
        if (ends || starts)
            && let Some(begin) = open.take()
        {
            entities.push(Entity::new(last.kind, begin..position));
        }
        if starts {
            open = Some(position);
        }
        last = *tag;
    }
    entities
}

fn iob2(tags: &[Tag]) -> Spans {
    let mut spans = Spans::default();
    let mut open = false;
    for (position, tag) in tags.iter().enumerate() {
        match tag.letter {
            'B' => {
                spans.entities.push(Entity::new(tag.kind, position..position + 1));
                open = true;
            }
            'I' => {
                if let Some(entity) = spans.entities.last_mut().filter(|entity| open && entity.kind == tag.kind) {
                    entity.end = position + 1;
                } else {
                    spans.ill_formed += 1;
                    open = false;
                }
            }
            _ => open = false,
        }
    }
    spans
}

fn iobes(tags: &[Tag]) -> Spans {
    let mut spans = Spans::default();
    let mut open: Option<usize> = None;
    for (position, tag) in tags.iter().enumerate() {
        let continued = open.filter(|begin| matches!(tag.letter, 'I' | 'E') && tags[*begin].kind == tag.kind);
        if let (Some(begin), None) = (open, continued) {
            // What was begun is not completed: none of its tags counts.
            spans.ill_formed += (position - begin) as u64;
        }
        open = match (tag.letter, continued) {
            ('I', Some(begin)) => Some(begin),
            ('E', Some(begin)) => {
                spans.entities.push(Entity::new(tag.kind, begin..position + 1));
                None
            }
            ('B', _) => Some(position),
            ('S', _) => {
                spans.entities.push(Entity::new(tag.kind, position..position + 1));
                None
            }
            ('I' | 'E', None) => {
                spans.ill_formed += 1;
                None
            }
            _ => None,
        };
    }
    spans.ill_formed += open.map_or(0, |begin| (tags.len() - begin) as u64);
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conlleval::PhraseCounts;

    /// Entities as `kind start..end`, and the number of ill-formed tags.
    fn read(tags: &str, scheme: Scheme) -> (Vec<String>, u64) {
        let tags: Vec<&str> = tags.split_whitespace().collect();
        let spans = Spans::read(&tags, scheme).unwrap();
        (spans.entities.iter().map(|entity| format!("{}{}..{}", entity.kind, entity.start, entity.end)).collect(), spans.ill_formed)
    }

    #[test]
    fn the_lenient_reading_begins_an_entity_wherever_one_cannot_go_on() {
        for (tags, expected) in [
            ("B-X I-X O B-Y", &["X0..2", "Y3..4"][..]),
            ("O I-X I-X", &["X1..3"]),
            ("B-X I-Y", &["X0..1", "Y1..2"]),
            ("B-X B-X", &["X0..1", "X1..2"]),
            ("S-X S-X", &["X0..1", "X1..2"]),
            ("B-X E-X I-X", &["X0..2", "X2..3"]),
            ("B I O B", &["0..2", "3..4"]),
            ("B-a-b I-a-b", &["a-b0..2"]),
            ("B-X L-X B-X L-X", &["X0..2", "X2..4"]),
            ("U-X B-X", &["X0..1", "X1..2"]),
            ("O-MISC B-MISC O-MISC", &["MISC1..2"]),
            ("O O", &[]),
        ] {
            assert_eq!(read(tags, Scheme::Conlleval), (expected.iter().map(|text| (*text).to_owned()).collect(), 0), "{tags}");
        }
    }

    #[test]
    fn strict_iob2_lets_only_b_begin() {
        for (tags, expected, ill_formed) in [
            ("B-X I-X O B-Y", &["X0..2", "Y3..4"][..], 0),
            ("O I-X I-X", &[], 2),
            ("B-X I-Y I-X", &["X0..1"], 2),
            ("B-X O I-X", &["X0..1"], 1),
            ("B I B", &["0..2", "2..3"], 0),
            ("B-X O-X I-X O-MISC", &["X0..1"], 1),
        ] {
            assert_eq!(read(tags, Scheme::Iob2Strict), (expected.iter().map(|text| (*text).to_owned()).collect(), ill_formed), "{tags}");
        }
    }

    #[test]
    fn strict_iobes_wants_whole_entities() {
        for (tags, expected, ill_formed) in [
            ("B-X I-X E-X S-Y", &["X0..3", "Y3..4"][..], 0),
            ("B-X I-X O", &[], 2),
            ("B-X E-Y", &[], 2),
            ("I-X E-X", &[], 2),
            ("B-X B-X E-X", &["X1..3"], 1),
            ("S-X B-X", &["X0..1"], 1),
            ("B-X S-X", &["X1..2"], 1),
        ] {
            assert_eq!(read(tags, Scheme::IobesStrict), (expected.iter().map(|text| (*text).to_owned()).collect(), ill_formed), "{tags}");
        }
    }

    #[test]
    fn a_tag_of_another_scheme_is_refused() {
        let refused = |tag: &str, scheme| Spans::read(&["O", tag], scheme).unwrap_err().to_string();
        assert_eq!(refused("S-X", Scheme::Iob2Strict), "tag `S-X` at position 1: IOB2 has `O`, `B-type`, `I-type`, or `B` and `I` without types");
        assert_eq!(
            refused("L-X", Scheme::IobesStrict),
            "tag `L-X` at position 1: IOBES has `O`, `B-type`, `I-type`, `E-type`, `S-type`, or the letters without types"
        );
        for tag in ["O-", "OX", "B-", "BX", "b-X"] {
            assert!(Spans::read(&[tag], Scheme::Iob2Strict).is_err(), "{tag}");
        }
        assert_eq!(refused("", Scheme::Conlleval), "tag `` at position 1: a tag has at least one letter");
    }

    #[test]
    fn an_entity_is_right_only_as_a_whole() {
        let gold = ["B-X", "I-X", "O", "B-Y", "O", "B-X"];
        let predicted = ["B-X", "O", "O", "B-X", "O", "B-X"];
        let counts = EntityCounts::of(&gold, &predicted, Scheme::Iob2Strict).unwrap();
        assert_eq!(counts.by_kind["X"], Counts { correct: 1, found: 3, gold: 2 });
        assert_eq!(counts.by_kind["Y"], Counts { correct: 0, found: 0, gold: 1 });
        assert_eq!(counts.total(), Counts { correct: 1, found: 3, gold: 3 });
        assert_eq!(counts.spans, Counts { correct: 2, found: 3, gold: 3 }, "the place of Y was found under another kind");
        assert_eq!(counts.micro().f1, 1.0 / 3.0);
        // X: 1/3, 1/2, 2/5; Y: 0.
        assert_eq!(counts.macro_mean().f1, 0.2);
    }

    #[test]
    fn sequences_of_unequal_length_are_refused() {
        let error = EntityCounts::of(&["O", "O"], &["O"], Scheme::Conlleval).unwrap_err();
        assert_eq!(error.to_string(), "2 gold tags against 1 predicted; each needs its counterpart");
    }

    #[test]
    fn counts_add_up() {
        let one = EntityCounts::of(&["B-X", "I-Y"], &["B-X", "O"], Scheme::Iob2Strict).unwrap();
        let mut sum = EntityCounts::default();
        sum += &one;
        sum += one;
        assert_eq!((sum.total(), sum.spans, sum.ill_formed_gold), (Counts { correct: 2, found: 2, gold: 2 }, Counts { correct: 2, found: 2, gold: 2 }, 2));
    }

    /// A small generator, so that a failing case can be run again.
    fn random(state: &mut u64, below: usize) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((*state >> 33) % below as u64).unwrap()
    }

    #[test]
    fn conlleval_and_the_lenient_reading_agree_on_every_iob_sequence() {
        let tags = ["O", "B-X", "I-X", "B-Y", "I-Y", "O", "I-X"];
        let state = &mut 1;
        for case in 0..2_000 {
            let draw = |state: &mut u64| -> Vec<&str> { (0..12).map(|_| tags[random(state, tags.len())]).collect() };
            let gold = draw(state);
            let predicted: Vec<&str> = gold.iter().map(|tag| if random(state, 3) == 0 { tags[random(state, tags.len())] } else { tag }).collect();
            let phrases = PhraseCounts::of(&[(&gold[..], &predicted[..])]).unwrap();
            let entities = EntityCounts::of(&gold, &predicted, Scheme::Conlleval).unwrap();
            assert_eq!(phrases.total, entities.total(), "case {case}: {gold:?} {predicted:?}");
            let by_type: BTreeMap<String, Counts> = phrases.by_type.iter().map(|(kind, counts)| (String::from_utf8(kind.clone()).unwrap(), *counts)).collect();
            assert_eq!(by_type, entities.by_kind, "case {case}: {gold:?} {predicted:?}");
        }
    }

    #[test]
    fn all_readings_agree_on_well_formed_tags() {
        let gold = ["B-X", "I-X", "O", "B-Y", "B-Y", "I-Y", "I-Y"];
        assert_eq!(Spans::read(&gold, Scheme::Iob2Strict).unwrap(), Spans::read(&gold, Scheme::Conlleval).unwrap());
        let gold = ["B-X", "E-X", "O", "S-Y", "B-Y", "I-Y", "E-Y"];
        assert_eq!(Spans::read(&gold, Scheme::IobesStrict).unwrap(), Spans::read(&gold, Scheme::Conlleval).unwrap());
    }
}
