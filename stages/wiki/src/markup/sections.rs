//! Sections that hold lists of links and references, by the headings of the larger wikis.

/// Which sections of a page are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sections {
    /// All that are not empty.
    #[default]
    All,
    /// All but those with references, links to other sites and lists of related pages.
    Prose,
}

/// Headings of such sections, in lower case.
const WITHOUT_PROSE: &[&str] = &[
    // en
    "references",
    "external links",
    "see also",
    "further reading",
    "notes",
    "notes and references",
    "bibliography",
    "sources",
    "footnotes",
    "citations",
    "references and notes",
    "works cited",
    "external link",
    // de
    "einzelnachweise",
    "weblinks",
    "literatur",
    "siehe auch",
    "quellen",
    "anmerkungen",
    "nachweise",
    "fußnoten",
    // fr
    "références",
    "notes et références",
    "liens externes",
    "voir aussi",
    "bibliographie",
    "annexes",
    "articles connexes",
    "lien externe",
    "notes",
    "sources",
    // es
    "referencias",
    "enlaces externos",
    "véase también",
    "bibliografía",
    "notas",
    "notas y referencias",
    // ru, uk
    "примечания",
    "ссылки",
    "литература",
    "см. также",
    "источники",
    "примітки",
    "посилання",
    "література",
    "див. також",
    "джерела",
    // it
    "note",
    "collegamenti esterni",
    "altri progetti",
    "voci correlate",
    "bibliografia",
    "riferimenti",
    // pt
    "referências",
    "ligações externas",
    "ver também",
    "bibliografia",
    "notas e referências",
    "leitura adicional",
    // pl
    "przypisy",
    "linki zewnętrzne",
    "zobacz też",
    "uwagi",
    "bibliografia",
    // nl
    "referenties",
    "externe links",
    "zie ook",
    "bronnen",
    "externe link",
    "noten",
    "literatuur",
    // sv
    "referenser",
    "externa länkar",
    "se även",
    "källor",
    "noter",
    // ja
    "脚注",
    "外部リンク",
    "関連項目",
    "参考文献",
    "出典",
    "注釈",
    "関連文献",
    // zh
    "参考文献",
    "參考文獻",
    "外部链接",
    "外部連結",
    "参见",
    "參見",
    "注释",
    "註釋",
    "参考资料",
    "參考資料",
    "延伸阅读",
    "延伸閱讀",
    "相关条目",
    "相關條目",
    // ar
    "مراجع",
    "وصلات خارجية",
    "انظر أيضًا",
    "انظر أيضا",
    "المراجع",
    "روابط خارجية",
    // ko
    "각주",
    "외부 링크",
    "같이 보기",
    "참고 문헌",
];

/// Whether a section with this heading has no prose.
pub(super) fn is_without_prose(heading: &str) -> bool {
    let heading = heading.trim().to_lowercase();
    WITHOUT_PROSE.contains(&heading.as_str())
}
