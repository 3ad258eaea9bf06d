//! Normalizes language tags to ISO 639-1 codes, or ISO 639-3 where a language has none.

/// ISO 639-1 codes with the ISO 639-2 and 639-3 codes of the same languages.
const CODES: &str = "\
    aa aar,ab abk,ae ave,af afr,ak aka twi fat,am amh,an arg,ar ara arb,as asm,av ava,ay aym ayr,az aze azj azb,ba bak,\
    be bel,bg bul,bi bis,bm bam,bn ben,bo bod tib,br bre,bs bos,ca cat,ce che,ch cha,co cos,cr cre,cs ces cze,cu chu,\
    cv chv,cy cym wel,da dan,de deu ger,dv div,dz dzo,ee ewe,el ell gre,en eng,eo epo,es spa,et est ekk,eu eus baq,\
    fa fas per pes prs,ff ful,fi fin,fj fij,fo fao,fr fra fre,fy fry,ga gle,gd gla,gl glg,gn grn gug,gu guj,gv glv,\
    ha hau,he heb,hi hin,ho hmo,hr hrv,ht hat,hu hun,hy hye arm,hz her,ia ina,id ind,ie ile,ig ibo,ii iii,ik ipk,io ido,\
    is isl ice,it ita,iu iku,ja jpn,jv jav,ka kat geo,kg kon,ki kik,kj kua,kk kaz,kl kal,km khm,kn kan,ko kor,kr kau,\
    ks kas,ku kur kmr,kv kom,kw cor,ky kir,la lat,lb ltz,lg lug,li lim,ln lin,lo lao,lt lit,lu lub,lv lav lvs,mg mlg plt,\
    mh mah,mi mri mao,mk mkd mac,ml mal,mn mon khk,mr mar,ms msa may zsm,mt mlt,my mya bur,na nau,nb nob,nd nde,\
    ne nep npi,ng ndo,nl nld dut,nn nno,nr nbl,nv nav,ny nya,oc oci,oj oji,om orm,or ori ory,os oss,pa pan,pi pli,\
    pl pol,ps pus pbt,pt por,qu que,rm roh,rn run,ro ron rum,ru rus,rw kin,sa san,sc srd,sd snd,se sme,sg sag,si sin,\
    sk slk slo,sl slv,sm smo,sn sna,so som,sq sqi alb als,sr srp,ss ssw,st sot,su sun,sv swe,sw swa swh,ta tam,te tel,\
    tg tgk,th tha,ti tir,tk tuk,tl tgl fil,tn tsn,to ton,tr tur,ts tso,tt tat,ty tah,ug uig,uk ukr,ur urd,uz uzb uzn,\
    ve ven,vi vie,vo vol,wa wln,wo wol,xh xho,yi yid ydd,yo yor,za zha,zh zho chi cmn,zu zul";

/// Codes that were replaced, or that the detector knows by another name.
const REPLACED: [(&str, &str); 7] =
    [("no", "nb"), ("nor", "nb"), ("iw", "he"), ("in", "id"), ("ji", "yi"), ("jw", "jv"), ("mo", "ro")];

/// The language of a tag such as `EN`, `pt-BR`, `zh_CN`, `deu` or `cmn-Hans`, as an ISO 639-1 code if there is one.
/// Empty if the tag names no language.
pub fn canonical(tag: &str) -> String {
    let primary =
        tag.trim().split(['-', '_', '.', ',', ';', ' ']).next().unwrap_or_default().to_ascii_lowercase();
    if let Some((_, code)) = REPLACED.iter().find(|(replaced, _)| *replaced == primary) {
        return (*code).to_owned();
    }
    let languages = || CODES.split(',').map(|codes| codes.split_ascii_whitespace());
    let known = languages().find(|codes| codes.clone().any(|code| code == primary));
    match known.and_then(|mut codes| codes.next()) {
        Some(code) => code.to_owned(),
        None if matches!(primary.as_str(), "und" | "mul" | "mis" | "zxx") => String::new(),
        // A language without a two-letter code.
        None if primary.len() == 3 && primary.bytes().all(|byte| byte.is_ascii_lowercase()) => primary,
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_come_in_one_form() {
        for (tag, code) in [
            ("en", "en"),
            ("EN", "en"),
            ("pt-BR", "pt"),
            ("zh_CN", "zh"),
            ("zh-Hant-TW", "zh"),
            ("cmn", "zh"),
            ("zho", "zh"),
            ("deu", "de"),
            ("ger", "de"),
            ("no", "nb"),
            ("iw", "he"),
            ("mn", "mn"),
            ("haw", "haw"),
            ("yue-HK", "yue"),
            ("en_US.UTF-8", "en"),
            ("", ""),
            ("und", ""),
            ("klingon", ""),
            ("xx", ""),
            ("{{ lang }}", ""),
        ] {
            assert_eq!(canonical(tag), code, "{tag}");
        }
    }

    #[test]
    fn what_the_detector_answers_is_in_that_form() {
        for language in whatlang::Lang::all() {
            let code = super::super::code(*language);
            assert_eq!(canonical(code), code);
            assert_eq!(canonical(language.code()), code, "{}", language.code());
        }
    }
}
