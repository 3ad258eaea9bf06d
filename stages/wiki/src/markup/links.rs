//! Links within a wiki and to others: which of their parts is text.

use crate::site::{CATEGORY, FILE, MEDIA, Site};

/// What a link `[[…]]` gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Link {
    Text(String),
    /// A file, a category, or the page in another language.
    Dropped,
    /// It is no link.
    None,
}

/// Codes of languages that have a wiki.
const LANGUAGES: &str = " aa ab ace ady af ak als alt am ami an ang ann anp ar arc ary arz as ast atj av avk awa ay az \
    azb ba ban bar bat-smg bbc bcl bdr be be-tarask be-x-old bew bg bh bi bjn blk bm bn bo bpy br bs btm bug bxr ca \
    cbk-zam cdo ce ceb ch cho chr chy ckb co cr crh cs csb cu cv cy da dag de dga din diq dsb dtp dty dv dz ee el eml en \
    eo es et eu ext fa fat ff fi fiu-vro fj fo fon fr frp frr fur fy ga gag gan gcr gd gl glk gn gom gor got gpe gsw gu \
    guc gur guw gv ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia iba id ie ig igl ii ik ilo inh io is it iu ja jam \
    jbo jv ka kaa kab kbd kbp kcg kg kge ki kj kk kl km kn ko koi kr krc ks ksh ku kus kv kw ky la lad lb lbe lez lfn lg \
    li lij lld lmo ln lo lrc lt ltg lv lzh mad mai map-bms mdf mg mh mhr mi min mk ml mn mni mnw mos mr mrj ms mt mus \
    mwl my myv mzn na nah nan nap nds nds-nl ne new ng nia nl nn no nov nqo nr nrm nso nup nv ny oc olo om or os pa pag \
    pam pap pcd pcm pdc pfl pi pih pl pms pnb pnt ps pt pwn qu rm rmy rn ro roa-rup roa-tara rsk ru rue rw sa sah sat \
    sc scn sco sd se sg sgs sh shi shn si simple sk skr sl sm smn sn so sq sr srn ss st stq su sv sw szl szy ta tay tcy \
    te tet tg th ti tk tl tly tn to tpi tr trv ts tt tum tw ty tyv udm ug uk ur uz ve vec vep vi vls vo vro wa war wo wuu \
    xal xh xmf yi yo yue za zea zgh zh zh-classical zh-min-nan zh-yue zu ";

/// Reads a link whose parts were separated by `|`.
pub(super) fn link(parts: &[&str], site: &Site) -> Link {
    let Some((target, display)) = parts.split_first() else { return Link::None };
    let target = target.trim();
    if target.is_empty() && display.is_empty() || target.contains(['\n', '[', ']', '{', '}']) {
        return Link::None;
    }
    let (is_shown, target) = target.strip_prefix(':').map_or((false, target), |target| (true, target.trim()));
    let prefix = target.split_once(':').map(|(prefix, _)| prefix.trim().to_lowercase());
    if !is_shown && let Some(prefix) = &prefix {
        let number = site.namespace_of(target);
        let is_language =
            || !prefix.is_empty() && !prefix.contains(' ') && LANGUAGES.contains(&format!(" {prefix} "));
        if matches!(number, Some(MEDIA | FILE | CATEGORY)) || (number.is_none() && is_language()) {
            return Link::Dropped;
        }
    }
    let text = display.join("|");
    match (display.is_empty(), text.trim().is_empty()) {
        (true, _) => Link::Text(target.replace('_', " ")),
        (false, true) => Link::Text(without_qualifier(target).to_owned()),
        (false, false) => Link::Text(text),
    }
}

/// A title without the name of its namespace and what tells it from others: `Mercury` of `Mercury (planet)`.
fn without_qualifier(title: &str) -> &str {
    let title = title.split_once(':').map_or(title, |(_, title)| title).trim();
    title.split_once(" (").map_or(title, |(title, _)| title)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn links_give_their_text() {
        let site = Site { namespaces: BTreeMap::from([(6, "Datei".into())]), ..Site::default() };
        let text = |text: &str| Link::Text(text.to_owned());
        for (parts, expected) in [
            (&["Bonn"][..], text("Bonn")),
            (&["Bonn", "the city"], text("the city")),
            (&["Bonn", "a", "b"], text("a|b")),
            (&["Mercury (planet)", ""], text("Mercury")),
            (&["Datei:X.jpg", "thumb", "A city"], Link::Dropped),
            (&["Category:Towns"], Link::Dropped),
            (&[":Category:Towns", "towns"], text("towns")),
            (&["de:Bonn"], Link::Dropped),
            (&[":de:Bonn", "Bonn"], text("Bonn")),
            (&["wikt:bonn", "bonn"], text("bonn")),
            (&["Alien: Covenant"], text("Alien: Covenant")),
            (&["a\nb", "c"], Link::None),
            (&[""], Link::None),
        ] {
            assert_eq!(link(parts, &site), expected, "{parts:?}");
        }
    }
}
