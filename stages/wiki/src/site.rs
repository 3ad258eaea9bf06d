//! What an export says about its wiki: name, address, language, and the names of its namespaces.

use std::collections::BTreeMap;

/// A wiki, as the `siteinfo` of an export describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// Its name, such as `Wikipedia`.
    pub name: String,
    /// Address of its main page.
    pub base: String,
    /// Language code of its content, such as `en` or `zh-min-nan`.
    pub language: String,
    /// Names of namespaces by number. The main namespace is 0 and has an empty name.
    pub namespaces: BTreeMap<i32, String>,
}

/// Number of the namespaces whose links are not text.
pub(crate) const MEDIA: i32 = -2;
pub(crate) const FILE: i32 = 6;
pub(crate) const CATEGORY: i32 = 14;

/// Names that every wiki understands in addition to its own.
const CANONICAL: [(&str, i32); 21] = [
    ("media", MEDIA),
    ("special", -1),
    ("talk", 1),
    ("user", 2),
    ("user talk", 3),
    ("project", 4),
    ("project talk", 5),
    ("file", FILE),
    ("image", FILE),
    ("file talk", 7),
    ("image talk", 7),
    ("mediawiki", 8),
    ("mediawiki talk", 9),
    ("template", 10),
    ("template talk", 11),
    ("help", 12),
    ("help talk", 13),
    ("category", CATEGORY),
    ("category talk", 15),
    ("module", 828),
    ("module talk", 829),
];

/// Old and short names that wikis understand, but do not list in their exports.
const ALIASES: [(&str, i32); 16] = [
    ("bild", FILE),
    ("fichier", FILE),
    ("imagen", FILE),
    ("imagem", FILE),
    ("ficheiro", FILE),
    ("immagine", FILE),
    ("изображение", FILE),
    ("画像", FILE),
    ("图像", FILE),
    ("圖像", FILE),
    ("图片", FILE),
    ("圖片", FILE),
    ("plik", FILE),
    ("grafika", FILE),
    ("afbeelding", FILE),
    ("分类", CATEGORY),
];

impl Site {
    /// The namespace of a title with a prefix, such as `Datei:Bild.jpg`; `None` if it has no known prefix.
    pub fn namespace_of(&self, title: &str) -> Option<i32> {
        let (prefix, _) = title.split_once(':')?;
        let prefix = plain(prefix);
        let own = self.namespaces.iter().find(|(_, name)| !name.is_empty() && plain(name) == prefix);
        let known = || CANONICAL.iter().chain(&ALIASES).find(|(name, _)| *name == prefix);
        own.map(|(number, _)| *number).or_else(|| known().map(|(_, number)| *number))
    }

    /// The address of a page, from that of the main page; empty if the export names none.
    pub fn address(&self, title: &str) -> String {
        let Some((folder, _)) = self.base.rsplit_once('/') else { return String::new() };
        let mut address = format!("{folder}/");
        for byte in title.trim().bytes() {
            match byte {
                b' ' => address.push('_'),
                byte if byte.is_ascii_alphanumeric() || b"-._~!$()*,;:@/".contains(&byte) => {
                    address.push(char::from(byte));
                }
                byte => address.push_str(&format!("%{byte:02X}")),
            }
        }
        address
    }
}

/// A name for comparison: in lower case, with single spaces.
fn plain(name: &str) -> String {
    let words: Vec<&str> = name.split(['_', ' ']).filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_have_local_and_canonical_names() {
        let namespaces =
            BTreeMap::from([(0, String::new()), (6, "Datei".into()), (15, "Kategorie Diskussion".into())]);
        let site = Site { namespaces, ..Site::default() };
        assert_eq!(site.namespace_of("datei:X.jpg"), Some(6));
        assert_eq!(site.namespace_of("Image:X.jpg"), Some(6));
        assert_eq!(site.namespace_of("Kategorie_Diskussion: X"), Some(15));
        assert_eq!(site.namespace_of("Star Trek: X"), None);
        assert_eq!(site.namespace_of("Plain"), None);
    }

    #[test]
    fn addresses_are_beside_the_main_page() {
        let site =
            Site { base: "https://de.wikipedia.org/wiki/Wikipedia:Hauptseite".into(), ..Site::default() };
        assert_eq!(
            site.address("Größe (Begriff)?"),
            "https://de.wikipedia.org/wiki/Gr%C3%B6%C3%9Fe_(Begriff)%3F"
        );
        assert_eq!(Site::default().address("A"), "");
    }
}
