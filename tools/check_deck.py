"""What a room would see go wrong in a deck, slide by slide, in a real browser."""

from pathlib import Path

from playwright.sync_api import Browser, Request

FOOT = 46  # pixels at a slide's lower edge that belong to the course's title and the page number
SMALL_FIGURE = 320  # pixels: a figure drawn narrower than this cannot be read in a room
SMALL_LETTERS = 14.5  # pixels

LOOK = """async ([width, height, foot, smallFigure, smallLetters]) => {
  const faults = [], slides = Reveal.getSlides();
  const words = e => (e.textContent || e.alt || e.tagName).trim().replace(/\\s+/g, " ").slice(0, 50);
  for (const [n, slide] of slides.entries()) {
    Reveal.slide(n);
    slide.querySelectorAll(".fragment").forEach(e => e.classList.add("visible"));
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    const scale = Reveal.getScale(), at = slide.getBoundingClientRect();
    const title = words(slide.querySelector("h1, h2"));
    const say = (what, e) => faults.push(`slide ${n + 1} (${title}): ${what}: ${words(e)}`);
    const footer = slide.querySelector("footer");
    if (!footer?.textContent.trim().endsWith(`${n + 1} / ${slides.length}`)) say("no page number", slide);
    for (const e of slide.querySelectorAll("*")) {
      if (e.closest("aside.notes, svg, mjx-assistive-mml") || e.tagName === "svg" || e === footer) continue;
      const box = e.getBoundingClientRect();
      if (!box.width || !box.height) continue;
      const [left, right] = [box.left - at.left, box.right - at.left].map(v => v / scale);
      const [top, bottom] = [box.top - at.top, box.bottom - at.top].map(v => v / scale);
      const lowest = e.closest("footer") ? height : height - foot;
      if (left < -1 || top < -1 || right > width + 1 || bottom > lowest + 1)
        say(`outside the slide (${[left, top, right, bottom].map(Math.round)})`, e);
      const block = !["inline", "contents"].includes(getComputedStyle(e).display) && !e.closest("mjx-container");
      const hidden = e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 2;
      if (block && hidden && e.clientWidth && e.tagName !== "IMG")
        say(`cut off (${e.scrollWidth} x ${e.scrollHeight} in ${e.clientWidth} x ${e.clientHeight})`, e);
      if (block && e.childElementCount === 0 && words(e) && parseFloat(getComputedStyle(e).fontSize) < smallLetters)
        say("letters too small", e);
    }
    for (const image of slide.querySelectorAll("img")) {
      if (!image.alt.trim()) say("an image without alt text", slide);
      const drawn = Math.min(image.clientWidth, image.clientHeight * image.naturalWidth / image.naturalHeight);
      if (!(drawn >= smallFigure)) say(`figure drawn ${Math.round(drawn)} pixels wide`, image);
    }
    for (const e of slide.querySelectorAll("mjx-merror, [data-mjx-error]")) say("formula not rendered", e);
    const text = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
    while (text.nextNode())
      if (/\\$|\\\\[([a-z]/.test(text.currentNode.data))
        if (!text.currentNode.parentElement.closest("pre, code, mjx-container, svg"))
          say("formula not rendered", text.currentNode);
  }
  return [slides.length, faults];
}"""


def check(browser: Browser, deck: Path, size: tuple[int, int] = (1280, 720)) -> tuple[int, list[str]]:
    """Open a deck from its file, show every slide with all its fragments, and return (slides, faults).

    A fault is: content outside the slide of this size or over its foot, cut-off code or output, letters or a figure
    too small to read, a formula that is not rendered, an image without alt text, an error in the console, and any
    request for something that is not in the file.
    """
    faults: list[str] = []
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    here = deck.resolve().as_uri()

    def requested(request: Request) -> None:
        if request.url.split("#")[0] != here and not request.url.startswith(("data:", "blob:")):
            faults.append(f"a request leaves the file: {request.url}")

    page.on("request", requested)
    page.on("console", lambda message: message.type == "error" and faults.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    try:
        page.goto(here)
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        slides, seen = page.evaluate(LOOK, [*size, FOOT, SMALL_FIGURE, SMALL_LETTERS])
    finally:
        page.close()
    return slides, faults + seen
