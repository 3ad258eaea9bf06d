//! Facts of a row: what added columns, the metadata and the fields of a document say about it. One accessor serves every
//! stage that selects, ranks or weighs documents.

use super::{AddedColumn, CLUSTER, Row};
use std::borrow::Cow;

/// The value of a fact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fact<'r> {
    /// A score, such as a classifier's probability; never NaN, which stands for no score.
    Score(f32),
    /// A number of things.
    Count(u32),
    /// A digest's prefix, such as the name of a cluster.
    Id(u64),
    /// Any other text; also numbers in metadata.
    Text(&'r str),
}

impl<'r> Fact<'r> {
    /// The value in a row of an added column.
    fn of(column: &'r AddedColumn, row: usize) -> Option<Self> {
        Some(match column {
            AddedColumn::U64(values) => Self::Id(*values.get(row)?),
            AddedColumn::U32(values) => Self::Count(*values.get(row)?),
            AddedColumn::F32(values) => Self::Score(*values.get(row).filter(|score| !score.is_nan())?),
            AddedColumn::Utf8(values) => Self::Text(values.get(row)?),
        })
    }

    /// Its value as a number, if it is one; never NaN.
    pub fn number(self) -> Option<f64> {
        let number = match self {
            Self::Score(score) => f64::from(score),
            Self::Count(count) => f64::from(count),
            Self::Id(_) => return None,
            Self::Text(text) => text.trim().parse().ok()?,
        };
        Some(number).filter(|number: &f64| !number.is_nan())
    }

    /// Its value as text: ids in 16 hexadecimal digits, scores with as many digits as they need.
    pub fn text(self) -> Cow<'r, str> {
        match self {
            Self::Score(score) => score.to_string().into(),
            Self::Count(count) => count.to_string().into(),
            Self::Id(id) => format!("{id:016x}").into(),
            Self::Text(text) => text.into(),
        }
    }
}

impl Row {
    /// A fact about the document: an added column of this name, else an entry of its metadata, else its field `source`,
    /// `language`, `license`, `date`, `url` or `id`. An empty field is no fact.
    ///
    /// The reader must have been asked for the columns of the metadata and of the fields; see
    /// `columns_of_facts`.
    pub fn fact(&self, name: &str) -> Option<Fact<'_>> {
        if let Some(column) = self.added.as_deref().and_then(|added| added.get(name)) {
            return Fact::of(column, self.index as usize);
        }
        let document = &self.document;
        let field = match name {
            "source" => Some(&document.source),
            "language" => Some(&document.language),
            "license" => Some(&document.license),
            "date" => Some(&document.date),
            "url" => Some(&document.url),
            "id" => Some(&document.id),
            _ => None,
        };
        let text = document.metadata.get(name).or(field);
        text.filter(|text| !text.is_empty()).map(|text| Fact::Text(text))
    }

    /// Copies the added columns into the metadata, as text.
    pub(crate) fn note_added(&mut self) {
        for (name, column) in self.added.as_deref().into_iter().flat_map(|added| added.iter()) {
            if let Some(fact) = Fact::of(column, self.index as usize) {
                self.document.metadata.insert(name.to_owned(), fact.text().into_owned());
            }
        }
    }
}

/// Fields of documents that are facts.
const FIELDS: [(&str, super::Column); 6] = [
    ("source", super::Column::Source),
    ("language", super::Column::Language),
    ("license", super::Column::License),
    ("date", super::Column::Date),
    ("url", super::Column::Url),
    ("id", super::Column::Id),
];

/// Whether a fact may be there although no metadata of the documents has its name.
pub(crate) fn is_field(name: &str) -> bool {
    FIELDS.iter().any(|(field, _)| *field == name) || [CLUSTER, super::CLUSTER_SIZE].contains(&name)
}

/// The columns to read for facts of these names.
pub(crate) fn columns_of_facts<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<super::Column> {
    let mut columns = vec![super::Column::Id, super::Column::Metadata];
    for name in names {
        let field = FIELDS.iter().find(|(field, _)| *field == name).map(|(_, column)| *column);
        columns.extend(field.filter(|column| !columns.contains(column)));
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::{AddedColumns, Document};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn row() -> Row {
        let mut added = AddedColumns::default();
        added.insert("quality", AddedColumn::F32(vec![0.0, 0.1])).unwrap();
        added.insert(CLUSTER, AddedColumn::U64(vec![0, 255])).unwrap();
        let metadata = BTreeMap::from([("quality".into(), "high".into()), ("stars".into(), "4.5".into())]);
        let document = Document { id: "d".into(), language: "en".into(), metadata, ..Document::default() };
        Row { index: 1, document, cluster: None, added: Some(Arc::new(added)) }
    }

    #[test]
    fn columns_come_before_metadata_and_metadata_before_fields() {
        let row = row();
        assert_eq!(row.fact("quality"), Some(Fact::Score(0.1)));
        assert_eq!(row.fact("stars").and_then(Fact::number), Some(4.5));
        assert_eq!(row.fact("language"), Some(Fact::Text("en")));
        assert_eq!((row.fact("license"), row.fact("other")), (None, None));
        assert_eq!(Fact::Text("NaN").number(), None);
    }

    #[test]
    fn added_columns_become_metadata() {
        let mut row = row();
        row.note_added();
        let expected = [("cluster", "00000000000000ff"), ("quality", "0.1"), ("stars", "4.5")];
        let expected = expected.map(|(name, fact)| (name.to_owned(), fact.to_owned()));
        assert_eq!(row.document.metadata, expected.into());
    }
}
