"""The page at `/`, in Chromium and without."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
import soundfile
import webvtt
from selenium.webdriver import ActionChains, Keys

from tests.support.chromium import Page, open_chromium
from tests.support.serving import SAMPLE, TEXT, HeldTranscriber, Served, serving
from whisper_npu_cli.checkpoints.languages import LANGUAGES
from whisper_npu_cli.serve import website

PATH = "/v1/audio/transcriptions"
FOLDER = Path(website.__file__).parent / "page"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser whose microphone hears the sample."""
    folder = tmp_path_factory.mktemp("chromium")
    samples, rate = soundfile.read(SAMPLE, dtype="float32")
    heard = (
        folder / "heard.wav"
    )  # the file begins anew when it ends: there a pause tells words apart
    soundfile.write(heard, np.concatenate([np.zeros(rate // 2), samples]), rate, subtype="PCM_16")
    with open_chromium(folder, heard) as one:
        yield one


@pytest.fixture
def page(browser: Page, served: Served) -> Iterator[Page]:
    """The page, which must have no fault that the browser's console tells of."""
    browser.open(served.url)
    browser.browser.get_log("browser")
    yield browser
    assert browser.browser.get_log("browser") == []


def get_words(page: Page) -> list[str]:
    return [word.text for word in page.list_all("#text .word")]


def get_seconds(time: str) -> float:
    return sum(60**i * float(part) for i, part in enumerate(reversed(time.split(":"))))


def get_recorded_s(page: Page) -> float:
    label = page.get("speak-label").text
    return get_seconds(label.removeprefix("Listening ")) if ":" in label else 0


def give(page: Page, path: Path = SAMPLE) -> None:
    page.get("file").send_keys(str(path))
    page.wait_shown("files")


def test_a_file_that_is_chosen(page: Page, served: Served) -> None:
    give(page)
    assert " ".join(get_words(page)) == TEXT
    status = page.get("status").text
    assert status.startswith("0:05 in ")
    assert status.endswith("English · demo · cpu")
    rows = [row.text.split()[0] for row in page.list_all("tbody tr")]
    assert rows == ["wait", "read", "find", "mel", "encode", "decode", "time", "all"]
    for link in page.list_all("#files a"):
        link.click()
    txt, srt, vtt, full = (f"{SAMPLE.stem}.{name}" for name in ("txt", "srt", "vtt", "json"))
    for name in (txt, srt, vtt, full):
        page.wait((page.folder / name).exists)
    content = json.loads((page.folder / full).read_text())
    fields = {"timestamp_granularities[]": ["segment", "word"], "response_format": "verbose_json"}
    answer = served.post(PATH, **fields).json()
    assert answer.pop("usage")
    assert content == answer
    said = [(one["text"].strip(), one["start"], one["end"]) for one in answer["segments"]]
    for cues in (webvtt.from_srt(page.folder / srt), webvtt.read(page.folder / vtt)):
        times = [(get_seconds(cue.start), get_seconds(cue.end)) for cue in cues]
        assert [cue.text for cue in cues] == [text for text, *_ in said]
        assert np.array(times) == pytest.approx(np.array([span for _, *span in said]), abs=0.001)
    assert (page.folder / txt).read_text().split() == TEXT.split()


def test_a_file_that_is_dropped(page: Page) -> None:
    page.run(
        """const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([bytes], "dropped.wav"));
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));""",
        b64encode(SAMPLE.read_bytes()).decode(),
    )
    page.wait_shown("files")
    assert page.get("name").text == "dropped.wav"
    assert " ".join(get_words(page)) == TEXT


def test_a_word_that_is_clicked_is_heard(page: Page) -> None:
    give(page)
    page.wait_shown("audio")
    word = page.list_all("#text .word")[-1]
    word.click()
    page.wait(lambda: page.run("return audio.played.length"))
    start = float(word.get_attribute("data-start") or "nan")
    assert start > 3
    # A player rounds to its samples, and has played on meanwhile
    assert page.run("return audio.currentTime") >= start - 0.01  # type: ignore[operator]
    assert [one.text for one in page.list_all(".word.now")] == ["zero"]


def test_the_keyboard_alone(page: Page) -> None:
    keys = ActionChains(page.browser)
    keys.send_keys(Keys.TAB).perform()
    page.browser.switch_to.active_element.send_keys(str(SAMPLE))
    page.wait_shown("files")
    page.wait_shown("audio")
    for _ in range(30):
        if page.browser.switch_to.active_element.get_attribute("id") == "text":
            break
        keys.reset_actions()
        keys.send_keys(Keys.TAB).perform()
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        assert page.browser.switch_to.active_element.tag_name == "body" or page.run(outline)
    text = page.browser.switch_to.active_element
    assert text.get_attribute("id") == "text"
    text.send_keys(Keys.HOME, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    page.wait(lambda: [one.text for one in page.list_all(".word.now")] == ["one"])
    start = page.list_all("#text .word")[2].get_attribute("data-start")
    assert page.run("return audio.currentTime") == pytest.approx(float(start or "nan"), abs=0.01)
    assert page.run("return audio.paused")
    text.send_keys(Keys.SPACE)
    page.wait(lambda: page.run("return audio.played.length"))
    text.send_keys(Keys.ENTER)
    page.wait(lambda: page.run("return audio.paused"))


def test_what_is_spoken_while_the_button_is_held(page: Page) -> None:
    button, label = page.get("speak"), page.get("speak-label")
    ActionChains(page.browser).click_and_hold(button).perform()
    page.wait(lambda: get_recorded_s(page) >= 5)  # all of what the microphone hears
    ActionChains(page.browser).release().perform()
    page.wait_shown("files")
    assert label.text == "Hold to speak"
    assert page.get("name").text.startswith("Recording ")
    assert "one six one eight" in " ".join(get_words(page))
    page.wait_shown("audio")
    assert page.run("return audio.duration") >= 5  # type: ignore[operator]


@pytest.mark.parametrize("key", [Keys.SPACE, Keys.ENTER, None])
def test_other_ways_to_hold_the_button(page: Page, key: str | None) -> None:
    button, label = page.get("speak"), page.get("speak-label")
    page.run("arguments[0].focus()", button)
    if key:
        ActionChains(page.browser).key_down(key).perform()
    else:
        button.click()  # which is short: it holds until the next
    page.wait(lambda: get_recorded_s(page) >= 1)
    if key:
        ActionChains(page.browser).key_up(key).perform()
    else:
        button.click()
    page.wait_shown("files")
    assert page.get("name").text.startswith("Recording ")
    assert label.text == "Hold to speak"


def test_a_microphone_that_is_refused(page: Page) -> None:
    page.run(
        "navigator.mediaDevices.getUserMedia = async () => "
        "{ throw new DOMException('no', 'NotAllowedError'); }"
    )
    page.get("speak").click()
    assert "allow it" in page.wait_shown("error").text
    assert page.get("speak-label").text == "Hold to speak"


def test_text_appears_as_it_is_decided_and_can_be_stopped(browser: Page) -> None:
    held = HeldTranscriber()
    with serving(lambda _: held) as served:
        browser.open(served.url)
        browser.get("file").send_keys(str(SAMPLE))
        held.step.release()
        browser.wait(lambda: get_words(browser) == ["one"])
        held.step.release()
        browser.wait(lambda: get_words(browser) == ["one", "two"])
        assert browser.get("status").text.startswith("Transcribing")
        assert not browser.get("files").is_displayed()
        browser.get("stop").click()
        browser.wait(lambda: held.begun[0].is_stopped)
        held.step.release()
        assert browser.get("status").text == "Stopped"
        assert get_words(browser) == ["one", "two"]


def test_choices_are_asked_for(browser: Page) -> None:
    held = HeldTranscriber()
    held.step.release(100)
    with serving(lambda _: held) as served:
        browser.open(served.url)
        give(browser)
        browser.run("language.value = 'de'")
        browser.get("translate").click()
        browser.get("file").send_keys(str(SAMPLE))
        browser.wait(lambda: len(held.begun) == 2)
        browser.wait_shown("files")
    asked = [(one.options.task, one.options.language) for one in held.begun]
    assert asked == [("transcribe", None), ("translate", "de")]


def test_errors_say_what_to_do(browser: Page, tmp_path: Path) -> None:
    bad = tmp_path / "talk.txt"
    bad.write_text("no audio")
    with serving(lambda _: HeldTranscriber(), api_key="secret") as served:
        browser.open(served.url)
        browser.get("file").send_keys(str(SAMPLE))
        assert browser.wait_shown("error").text.startswith("Enter the key")
        assert browser.browser.switch_to.active_element == browser.get("key")
    browser.get("key").send_keys("secret", Keys.ENTER)
    browser.wait(lambda: browser.get("error").text.startswith("The server does not answer"))
    assert "Start `whisper-npu serve`" in browser.get("error").text


def test_a_key_is_asked_for_and_kept(browser: Page) -> None:
    held = HeldTranscriber()
    held.step.release(100)
    with serving(lambda _: held, api_key="secret") as served:
        browser.open(served.url)
        browser.get("file").send_keys(str(SAMPLE))
        browser.wait_shown("key").send_keys("secret", Keys.ENTER)
        browser.wait_shown("files")
        assert not browser.get("key-form").is_displayed()
        browser.open(served.url)
        give(browser)
        assert get_words(browser) == ["one", "two", "three"]


def test_what_is_no_audio(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "talk.txt"
    bad.write_text("no audio")
    page.get("file").send_keys(str(bad))
    assert "talk.txt" in page.wait_shown("error").text
    assert not page.get("result").is_displayed()
    (log,) = page.browser.get_log("browser")  # of the answer's status
    assert "400" in log["message"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_page(page: Page, served: Served, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    page.open(served.url, width=360)
    give(page)
    page.wait_shown("audio")
    assert page.run("return document.documentElement.scrollWidth") == 360
    assert page.run(_CONTRAST) >= 4.5  # type: ignore[operator]  # WCAG 2.2, 1.4.3


# The least contrast of a text with what is behind it
_CONTRAST = """
function parse(color) { return color.match(/[\\d.]+/g).map(Number); }
function measure(color) {
  const [r, g, b] = parse(color).map((x) => x / 255)
    .map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function findBehind(element) {
  const color = getComputedStyle(element).backgroundColor;
  return parse(color)[3] === 0 ? findBehind(element.parentElement) : color;
}
const texts = [...document.body.querySelectorAll("*")].filter((one) => one.checkVisibility()
  && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
return Math.min(...texts.map((one) => {
  const lights = [getComputedStyle(one).color, findBehind(one)].map(measure).sort((a, b) => a - b);
  return (lights[1] + 0.05) / (lights[0] + 0.05);
}));
"""


def test_nothing_comes_from_other_hosts(served: Served) -> None:
    for name in ("", *(f"page/{path.name}" for path in FOLDER.iterdir())):
        answer = served.get(f"/{name}")
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        addresses = re.findall(r"https?://[^\s\"]*|[\"'(]//", answer.text)
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}  # the name of a format


def test_the_page_offers_every_language(served: Served) -> None:
    text = served.get("/").text
    assert all(f'<option value="{code}">' in text for code in LANGUAGES)


@pytest.mark.parametrize("name", ["..%2fapp.py", "%2e%2e/app.py", "nothing.js", "", "a" * 999])
def test_files_that_there_are_not(served: Served, name: str) -> None:
    assert httpx2.get(f"{served.url}/page/{name}").status_code == 404
