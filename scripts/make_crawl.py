#!/usr/bin/env python3
"""Makes a small crawl in the form of Common Crawl, and serves it: for tests of pipelines/fineweb.yaml and chinese.yaml.

    scripts/make_crawl.py OUT [--language en|zh] [--archives N] [--pages N] [--serve PORT]

    OUT/crawl-data/CRAWL/warc.paths.gz      the paths of the archives
    OUT/crawl-data/CRAWL/segments/…/warc/   archives with a gzip member for each record: warcinfo, and for each page a
                                            request, a response and metadata
    OUT/block-lists/{domains,urls}          lists that name some of the pages
    OUT/expected.json                       what must become of each page, by its address

English is prose of the toolchain's documentation (rustup component add rust-docs), Chinese is put together from clauses. Each
archive depends on its number only, so a crawl with one more archive has the same others. One in four pages is of a kind
that a recipe has to treat in some way: copies, short and repetitive texts, other languages, personal data, blocked sites.
Among them are records without a page, and one in the second archive is damaged. With --serve, answers requests on loopback,
also for parts of a file.
"""

import argparse
import base64
import gzip
import hashlib
import html
import html.parser
import http.server
import json
import os
import pathlib
import re
import subprocess
import threading
import urllib.parse

CRAWL = "CC-MAIN-2026-01"
SEGMENT = f"crawl-data/{CRAWL}/segments/1767225600000.00/warc"
BLOCKED_DOMAIN = "lucky-casino.example"
# A host with some pages on a list.
BLOCKED_HOST = "mixed.example"
PERSON = {"en": "keeper{0}@harbour.example.org", "zh": "shouta{0}@gangkou.example.org"}


def pick(count, *seed):
    """A number below `count` that the seed determines."""
    digest = hashlib.blake2b(repr(seed).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def picks(items, count, *seed):
    """Different items that the seed determines."""
    chosen = {}
    for at in range(100 * count):
        chosen[pick(len(items), *seed, at)] = None
        if len(chosen) == min(count, len(items)):
            break
    return [items[at] for at in chosen]


# English: paragraphs of books.

BOOKS = ["book", "reference", "nomicon", "cargo", "rustc", "rustdoc", "edition-guide", "embedded-book", "style-guide", "rust-by-example"]
# What the recipe treats in some way by itself.
NOT_PLAIN = re.compile(r"[{}#|@…•]|\.\.\.|javascript|lorem ipsum|cookie|privacy policy|terms of use|\d\.\d", re.IGNORECASE)


class Paragraphs(html.parser.HTMLParser):
    """The texts of the paragraphs of a page."""

    def __init__(self):
        super().__init__()
        self.texts, self.text = [], None

    def handle_starttag(self, tag, _):
        if tag == "p":
            self.text = ""

    def handle_endtag(self, tag):
        if tag == "p" and self.text is not None:
            self.texts.append(" ".join(self.text.split()))
            self.text = None

    def handle_data(self, data):
        if self.text is not None:
            self.text += data


def english_prose():
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
    root = pathlib.Path(sysroot, "share/doc/rust/html")
    found = {}
    for book in BOOKS:
        for path in sorted(root.joinpath(book).rglob("*.html")):
            if path.name != "print.html":
                parser = Paragraphs()
                parser.feed(path.read_text(encoding="utf-8"))
                found.update(dict.fromkeys(filter(is_plain, parser.texts)))
    if len(found) < 500:
        raise SystemExit(f"{len(found)} paragraphs in {root}: rustup component add rust-docs")
    return list(found)


def is_plain(text):
    words = text.split()
    lettered = [word for word in words if any(letter.isalpha() for letter in word)]
    return (
        35 <= len(words) <= 150
        and text.isascii()
        and text[0].isupper()
        and text.endswith(".")
        and not NOT_PLAIN.search(text)
        and len(lettered) > 0.95 * len(words)
        and 4 <= sum(map(len, words)) / len(words) <= 6.5
        and len(set(words)) > 0.6 * len(words)
    )


# Chinese: a time, a person, a place, something done, and what followed.

TIMES = """清晨 傍晚时分 去年冬天 赶集的日子里 雨停以后 丰收的季节 昨天夜里 春天来了以后 过了中秋节 天还没有亮的时候 下课以后 刚吃过午饭
每逢周末 有雾的早上 几年以前 第一场雪落下来的时候 潮水退去以后 太阳落山的时候 三月里的一天 听到钟声以后""".split()
PEOPLE = """守灯塔的老人 村里的小学老师 卖鱼的妇人 我的外祖父 邻居家的孩子 码头上的工人 那位年轻的医生 图书馆的管理员 从北方来的商人 修船的师傅
放羊的少年 我们班的同学 镇上的木匠 远道而来的客人 茶馆的老板 种果树的农民 送信的邮差 唱戏的姑娘 爱下棋的叔叔 开渡船的船夫 养蜂的夫妻 画画的学生
磨豆腐的阿婆 测量河道的工程师 写日记的女孩 巡山的护林员 织布的奶奶 火车站的站长 研究气象的教授 烧瓦的匠人""".split()
PLACES = """河边的石阶上 老槐树下面 安静的阅览室里 山坡上的茶园里 通往县城的路上 刚刚修好的木桥旁边 热闹的集市中间 堆满渔网的院子里 教室的最后一排
祠堂门前的空地上 漏雨的仓库里 灯光昏暗的厨房里 长满青苔的井边 新开的书店里 摇晃的渡船上 铺着稻草的谷场上 靠近海湾的小屋里 医院狭窄的走廊里
城墙下的旧货摊前 飘着桂花香的巷子里 铁路旁的菜地里 祖母留下的藤椅上 学校后面的池塘边 摆着算盘的柜台后面 挂着地图的办公室里 积雪的山顶上
竹林深处的亭子里 蒸汽弥漫的面馆里 码头尽头的堤岸上 旧收音机旁边""".split()
DEEDS = """仔细地数着刚刚收来的鸡蛋 把潮湿的柴火搬到太阳底下 给远方的亲人写了一封很长的信 向大家讲起祖先渡海的故事 用旧木板修补漏水的小船
教孩子们辨认天上的星星 为明天的考试认真地复习功课 把采来的草药一样一样地晒干 和几个老朋友商量修路的办法 慢慢地翻看一本发黄的相册
拿着尺子测量水面的高度 给受伤的小鸟包扎翅膀 为过路的人烧了一大锅热茶 记下每一艘进港船只的名字 学着用毛笔抄写古人的诗句 听着窗外的雨声修理一只旧钟
把新摘的橘子分给放学的学生 跟师傅学习怎样雕刻窗花 检查每一盏灯里的油够不够 为了一条鱼的价钱和人争了半天 在纸上画出水渠应该经过的地方
对着地图寻找故乡的位置 给菜地里的幼苗搭起了棚子 把丢失的钱包交还给了它的主人 拉着二胡唱起年轻时的歌 数着台阶一步一步地往上走
为迷路的旅客指出回家的方向 把收成的数目写进厚厚的账本 用粗糙的手抚摸着那块石碑 劝两个吵架的邻居坐下来喝茶 替生病的同事值了一整夜的班
从井里打上来一桶清凉的水 背诵昨天刚刚学会的课文 等着从省城开来的最后一班车 把渔网上的破洞一个一个地补好 给新来的学徒演示怎样磨刀
在黑板上解释潮汐的道理 把积攒的钱拿去买了两头小牛 向工程师请教桥梁的构造 为村里的晚会排练一出短戏""".split()
ENDS = """谁也没有注意到天色已经暗了 这件事后来被写进了县里的报纸 周围的人都安静地听着 大家都觉得今年的日子会更好 只有那只黄狗懒懒地躺在一边
他的脸上露出了满意的笑容 远处传来了轮船的汽笛声 风把纸吹得满地都是 母亲在门口喊着吃饭的声音传得很远 孩子们笑着跑开了 水面上映出一轮又圆又亮的月亮
这样的习惯一直保持到现在 邻居们知道以后都来帮忙 问题终于有了一个简单的答案 没有人说得清楚其中的原因 空气里有一股新鲜泥土的味道
第二天的收获果然比平常多了一倍 路过的客人不由得停下了脚步 这份手艺就这样传了下来 他把这一切都记在了心里 屋顶上的炊烟慢慢地散开
桥那边的灯一盏接一盏地亮了起来 大雁排着队从头顶飞过 年纪最小的那个第一次没有哭 屋里的钟敲了九下 村口的石狮子好像也在点头
从此再也没有船在那里触礁 老师在本子上画了一个红色的圆圈 这让在场的每一个人都松了一口气 收音机里正好播到天气预报 雪不知不觉地停了
茶杯里的热气模糊了眼镜 他们约好来年再见 连最挑剔的顾客也说不出话来 锅里的汤发出咕嘟咕嘟的响声 田里的水稻又长高了一截 那封信过了半年才收到回音
院子里的石榴花开得正红 旁边的人悄悄地擦了擦眼睛 新修的水库第一次蓄满了水""".split()


def chinese_prose():
    return [paragraph(number) for number in range(2000)]


def paragraph(number):
    def sentence(at):
        time, who, place, deed, end = (
            parts[pick(len(parts), "zh", number, at, kind)] for kind, parts in enumerate([TIMES, PEOPLE, PLACES, DEEDS, ENDS])
        )
        return f"{time}，{who}在{place}{deed}，{end}。"

    return "".join(sentence(at) for at in range(4))


OTHER_LANGUAGES = {
    "de": """Der alte Wärter steigt jeden Abend die steile Treppe hinauf und zündet das Licht für die Schiffe an.
Im Winter bleiben die Boote im Hafen, und die Fischer flicken ihre Netze in den warmen Stuben.
Die Kinder des Dorfes lernen früh, woher der Wind kommt und wie man einen Knoten bindet.
Auf dem Markt verkaufen die Frauen Äpfel, Brot und den Honig aus den Gärten hinter der Kirche.
Niemand weiß mehr genau, wer die Brücke über den Fluss gebaut hat, aber alle gehen jeden Tag darüber.
Der Lehrer schreibt die Namen der Sterne an die Tafel und erzählt von langen Reisen über das Meer.
Wenn der Nebel kommt, läutet man die große Glocke, damit die Schiffe den Weg nicht verlieren.
Am Abend sitzen die Leute vor ihren Häusern und sprechen über die Ernte und das Wetter.""",
    "ja": """灯台を守る老人は、毎晩急な階段をのぼって船のために明かりをともします。
冬になると船は港にとどまり、漁師たちは暖かい部屋で網を直しています。
村の子どもたちは、風がどこから吹いてくるのかを早くから学びます。
市場では女の人たちが、りんごやパンや庭でとれた蜂蜜を売っています。
川にかかる橋をだれが作ったのかは、もうだれも覚えていません。
先生は黒板に星の名前を書き、海をわたる長い旅の話をしました。
霧が出ると、船が道に迷わないように大きな鐘を鳴らします。
夕方になると人々は家の前にすわって、畑や天気のことを話します。""",
}
OTHER_LANGUAGES = {language: text.splitlines() for language, text in OTHER_LANGUAGES.items()}


def identity(number):
    """An identity number of China that is given to nobody: born in 1900, in a region without such numbers."""
    digits = f"81000019000101{number % 1000:03}"
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
    return digits + "10X98765432"[sum(int(digit) * weight for digit, weight in zip(digits, weights)) % 11]


class Page:
    """A page: its paragraphs, and what must become of it.

    `fate` is `kept`, `copy` of the pages with the same `group`, of which one is kept, or the rule that drops it. `masked` counts
    what is masked in it; `has` and `lacks` are texts that the document has, or no more.
    """

    def __init__(self, lines, fate="kept", language="en", host=None, group=None, masked=None, has=(), lacks=(), encoding="utf-8"):
        self.lines, self.fate, self.language, self.host, self.group = lines, fate, language, host, group
        self.masked, self.has, self.lacks, self.encoding = masked or {}, list(has), list(lacks), encoding


class Crawl:
    """The pages of a language."""

    def __init__(self, language):
        self.language = language
        self.prose = english_prose() if language == "en" else chinese_prose()
        self.of = {"en": self.english, "zh": self.chinese}[language]

    def good(self, archive, number):
        return picks(self.prose, 5, self.language, archive, number)

    def page(self, archive, number):
        """The page of this number; those of other kinds than good pages are where `number` says."""
        lines = self.good(archive, number)
        kind = number % 40
        if kind == 1:
            return Page(self.good(archive, number - 1), "copy", self.language, group=[archive, number - 1])
        if kind == 3:
            # Without its last sentence: the longer one is kept.
            marks = re.escape(".。")
            earlier = self.good(archive, number - 1)
            shorter = re.sub(f"[^{marks}]+[{marks}]$", "", earlier[-1]).strip()
            return Page(earlier[:-1] + [shorter or earlier[0]], "near", self.language)
        if kind == 5:
            short = " ".join(lines[0].split()[:30]) + "." if self.language == "en" else lines[0].split("。")[0] + "。"
            return Page([short], "gopher_words_min", self.language)
        if kind == 7:
            return Page(lines, "blocked_domain", self.language, host=f"win.{BLOCKED_DOMAIN}")
        if kind == 9:
            return Page(lines, "blocked_url", self.language, host=f"www.{BLOCKED_HOST}")
        if kind == 11:
            other = "de" if self.language == "en" else ["ja", "de"][number // 40 % 2]
            return Page([" ".join(picks(OTHER_LANGUAGES[other], 5, archive, number))] * 2, "language", other)
        if kind == 13:
            return Page(lines[:2] + [lines[2]] * 5, "gopher_duplicate_lines", self.language)
        if kind == 15:
            return self.list(archive, number)
        return self.of(kind, lines, archive, number)

    def list(self, archive, number):
        """Lines that do not end in punctuation."""
        def start(text):
            return " ".join(text.rstrip(".").split()[:7]) if self.language == "en" else text.split("，")[1]

        lines = [start(text).rstrip(",;:.") for text in picks(self.prose, 40, "list", archive, number)]
        return Page(lines, "fineweb_line_punctuation", self.language)

    def english(self, kind, lines, archive, number):
        person, address = PERSON["en"].format(number), f"93.184.216.{number % 200 + 30}"
        if kind == 17:
            more = f"Questions about the harbour reach the keeper at {person} on all working days, and the old server still answers at {address} by night."
            return Page([*lines, more], masked={"email": 1, "ip": 1}, has=["<EMAIL_ADDRESS>", "<IP_ADDRESS>"], lacks=[person, address])
        if kind == 19:
            return Page([*lines, "The body of the function is {0} and is written below."], "c4_braces")
        if kind == 21:
            return Page([*lines, "Lorem ipsum dolor sit amet, consectetur adipiscing elit."], "c4_lorem_ipsum")
        if kind == 23:
            cut = ["This site uses cookies to count its readers.", "Please enable JavaScript to read the comments."]
            return Page([lines[0], cut[0], *lines[1:], cut[1]], has=[lines[1]], lacks=cut)
        return Page(lines, has=[lines[0], lines[-1]])

    def chinese(self, kind, lines, archive, number):
        person, phone, card = PERSON["zh"].format(number), f"1380013{number % 10000:04}", identity(number)
        if kind in (17, 19):
            more = f"需要帮助的人可以写信到{person}，也可以打电话{phone}，登记时请出示身份证号{card}。"
            masked = {"email": 1, "phone": 1, "cn_id": 1}
            masks = ["<EMAIL_ADDRESS>", "<PHONE_NUMBER>", "<CN_ID>"]
            return Page([*lines, more], language="zh", masked=masked, has=masks, lacks=[person, phone, card])
        encoding = "gb18030" if kind in (21, 23, 25) else "utf-8"
        return Page(lines, language="zh", has=[lines[0], lines[-1]], encoding=encoding)

    def url(self, archive, number, page):
        host = page.host or f"www.site-{number % 7}.example"
        return f"https://{host}/{archive}/{number}"


# Records.

def markup(page, number):
    """A page with what surrounds a text: in three designs."""
    title = f"{number} - {page.lines[0][:40]}"
    head = f'<meta charset="{page.encoding}"><title>{html.escape(title)}</title><style>p {{ margin: 1em }}</style>'
    menu = "".join(f'<li><a href="/{place}">{place}</a></li>' for place in ["home", "news", "map", "help"])
    body = "\n".join(f"<p>{html.escape(line)}</p>" for line in page.lines)
    body = [f"<main><article>{body}</article></main>", f'<div id="content">{body}</div>', f"<article>{body}</article>"][number % 3]
    footer = '<footer><a href="/imprint">imprint</a> 2026</footer>'
    language = "" if number % 5 == 0 else f' lang="{page.language}"'
    return f"<!DOCTYPE html><html{language}><head>{head}</head><body><nav><ul>{menu}</ul></nav>{body}{footer}</body></html>"


def record(kind, url, block, headers=(), about=""):
    def name(of):
        digest = hashlib.blake2b(repr((of, url, about)).encode(), digest_size=16).hexdigest()
        return f"<urn:uuid:{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}>"

    sha1 = base64.b32encode(hashlib.sha1(block).digest()).decode()
    lines = [
        "WARC/1.0",
        f"WARC-Type: {kind}",
        "WARC-Date: 2026-01-02T03:04:05Z",
        f"WARC-Record-ID: {name(kind)}",
        f"Content-Length: {len(block)}",
        *([f"WARC-Target-URI: {url}", "WARC-IP-Address: 192.0.2.7"] if url else []),
        *([f"WARC-Concurrent-To: {name('response')}"] if kind in ("request", "metadata") else []),
        f"WARC-Block-Digest: sha1:{sha1}",
        *headers,
    ]
    return gzip.compress("\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n", 6, mtime=0)


def response(url, status, media_type, body, kind="response", identified="text/html"):
    head = [
        f"HTTP/1.1 {status}",
        "Server: nginx",
        *([f"Content-Type: {media_type}"] if media_type else []),
        "X-Crawl-Content-Encoding: gzip",
        f"Content-Length: {len(body)}",
    ]
    block = "\r\n".join(head).encode() + b"\r\n\r\n" + body
    payload = base64.b32encode(hashlib.sha1(body).digest()).decode()
    headers = [
        "Content-Type: application/http; msgtype=response",
        f"WARC-Payload-Digest: sha1:{payload}",
        *([f"WARC-Identified-Payload-Type: {identified}"] if identified else []),
    ]
    return record(kind, url, block, headers)


def around(url, answer):
    """An answer with the records that Common Crawl has beside it."""
    place = urllib.parse.urlsplit(url)
    request = f"GET {place.path} HTTP/1.1\r\nUser-Agent: CCBot/2.0 (https://commoncrawl.org/faq/)\r\nHost: {place.netloc}\r\n\r\n"
    notes = "fetchTimeMs: 42\r\ncharset-detected: UTF-8\r\n\r\n"
    return [
        record("request", url, request.encode(), ["Content-Type: application/http; msgtype=request"]),
        answer,
        record("metadata", url, notes.encode(), ["Content-Type: application/warc-fields"]),
    ]


def archive_of(crawl, archive, pages):
    """The members of an archive, what must become of its pages, and how many records without a page have which reason."""
    info = b"isPartOf: %s\r\npublisher: Common Crawl\r\nsoftware: Apache Nutch\r\nformat: WARC File Format 1.0\r\n" % CRAWL.encode()
    members = [record("warcinfo", "", info, ["Content-Type: application/warc-fields"], str(archive))]
    expected, rejected = {}, {}
    for number in range(pages):
        page = crawl.page(archive, number)
        url = crawl.url(archive, number, page)
        # The header says it on some pages, the page itself on all.
        charset = f"; charset={page.encoding}" if number % 2 else ""
        answer = response(url, "200 OK", f"text/html{charset}", markup(page, number).encode(page.encoding))
        if archive == 1 and number == 10:
            at = len(answer) // 2
            answer = answer[:at] + b"\xff" * 16 + answer[at + 16 :]
            rejected["damaged"] = 1
        else:
            group = page.group and crawl.url(*page.group, crawl.page(*page.group))
            parts = {"fate": page.fate, "group": group, "masked": page.masked, "has": page.has, "lacks": page.lacks}
            expected[url] = {name: value for name, value in parts.items() if value}
        members += around(url, answer)
        if number % 25 == 0:
            lost = f"https://www.lost.example/{archive}/{number}"
            for reason, other in [
                ("status", response(lost + "/gone", "404 Not Found", "text/html", b"<p>There is no such page.</p>")),
                ("media_type", response(lost + "/light.png", "200 OK", "image/png", b"\x89PNG\r\n\x1a\n\0\0", identified="image/png")),
                ("no_content", response(lost + "/empty", "200 OK", "text/html", b"")),
                ("revisit", response(lost + "/same", "304 Not Modified", "", b"", kind="revisit", identified="")),
            ]:
                members += around(lost, other)
                rejected[reason] = rejected.get(reason, 0) + 1
    return members, expected, rejected


def make(out, language, archives, pages):
    """Writes a crawl, and returns what must become of it: `pages` by address, and the reasons of `rejected` records."""
    out = pathlib.Path(out)
    crawl = Crawl(language)
    expected, rejected, paths = {}, {}, []
    out.joinpath(SEGMENT).mkdir(parents=True, exist_ok=True)
    for archive in range(archives):
        members, of_pages, reasons = archive_of(crawl, archive, pages)
        path = f"{SEGMENT}/CC-MAIN-20260102030405-20260102060405-{archive:05}.warc.gz"
        out.joinpath(path).write_bytes(b"".join(members))
        paths.append(path)
        expected |= of_pages
        rejected |= {reason: rejected.get(reason, 0) + count for reason, count in reasons.items()}
    listed = gzip.compress("".join(f"{path}\n" for path in paths).encode(), mtime=0)
    out.joinpath(f"crawl-data/{CRAWL}/warc.paths.gz").write_bytes(listed)
    lists = out / "block-lists"
    lists.mkdir(exist_ok=True)
    (lists / "domains").write_text(f"# games of chance\n{BLOCKED_DOMAIN}\n")
    # Also pages of archives that are made later, so that these do not change the list.
    blocked = [f"{BLOCKED_HOST}/{archive}/{number}" for archive in range(20) for number in range(9, pages, 40)]
    (lists / "urls").write_text("".join(f"{url}\n" for url in blocked))
    made = {"pages": expected, "rejected": rejected}
    (out / "expected.json").write_text(json.dumps(made, ensure_ascii=False, indent=1) + "\n")
    return made


class Files(http.server.BaseHTTPRequestHandler):
    """Files below `root`, whole or in parts, with an ETag."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        root = self.server.root.resolve()
        path = root.joinpath(urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).lstrip("/")).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            return self.answer(404, b"")
        body = path.read_bytes()
        headers = {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "Accept-Ranges": "bytes"}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not part:
            return self.answer(200, body, headers)
        start = int(part[1])
        end = min(int(part[2]) + 1 if part[2] else len(body), len(body))
        if start >= end:
            return self.answer(416, b"", headers | {"Content-Range": f"bytes */{len(body)}"})
        self.answer(206, body[start:end], headers | {"Content-Range": f"bytes {start}-{end - 1}/{len(body)}"})

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(root, port=0):
    """A server of the files below a folder, on loopback; it stops with the process, or by `shutdown`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Files)
    server.root = pathlib.Path(root)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out")
    arguments.add_argument("--language", choices=["en", "zh"], default="en")
    arguments.add_argument("--archives", type=int, default=4)
    arguments.add_argument("--pages", type=int, default=200, help="per archive")
    arguments.add_argument("--serve", type=int, metavar="PORT")
    chosen = arguments.parse_args()
    made = make(chosen.out, chosen.language, chosen.archives, chosen.pages)
    print(f"{len(made['pages'])} pages in {chosen.archives} archives below {os.path.join(chosen.out, SEGMENT)}")
    if chosen.serve is not None:
        server = serve(chosen.out, chosen.serve)
        print(f"base: http://127.0.0.1:{server.server_port}, crawl: {CRAWL}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
