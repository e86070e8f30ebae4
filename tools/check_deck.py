"""What a room would see go wrong in a deck, slide by slide, in a real browser."""

from pathlib import Path

from playwright.sync_api import Browser, Request

SIZE = {"width": 1280, "height": 720}  # pixels of a slide, as in slides/deck.yaml
# Below: a slide's foot of 46 pixels belongs to the page number; a figure narrower than 320 pixels, and letters below
# 14.5, cannot be read in a room.
LOOK = r"""async () => {
  const faults = [], slides = Reveal.getSlides();
  const words = e => (e.data || e.textContent || e.alt || e.tagName).trim().replace(/\s+/g, " ").slice(0, 50);
  const inline = e => /^(inline|contents)/.test(getComputedStyle(e).display);
  const blockOf = e => { while (inline(e)) e = e.parentElement; return e; };
  for (const [n, slide] of slides.entries()) {
    Reveal.slide(n);
    slide.querySelectorAll(".fragment").forEach(e => e.classList.add("visible"));
    await Promise.all([...slide.querySelectorAll("img")].map(e => e.decode().catch(() => {})));
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    const scale = Reveal.getScale(), at = slide.getBoundingClientRect();
    const title = words(slide.querySelector("h1, h2"));
    const say = (what, e) => faults.push(`slide ${n + 1} (${title}): ${what}: ${words(e)}`);
    const number = document.querySelector(".slide-number")?.innerText.replace(/\s/g, "");
    if (number !== `${n + 1}/${slides.length}`) say("no page number", slide);

    slide.querySelectorAll("[data-explorable] .wrong").forEach(e => say("a state that does not fit", e));
    for (const e of slide.querySelectorAll("*:not(aside.notes, aside.notes *, svg *, mjx-assistive-mml *)")) {
      const box = e.getBoundingClientRect();
      if (!box.width || !box.height) continue;
      const [left, right] = [box.left - at.left, box.right - at.left].map(v => v / scale);
      const [top, bottom] = [box.top - at.top, box.bottom - at.top].map(v => v / scale);
      if (left < -1 || top < -1 || right > 1281 || bottom > 720 - 46 + 1)
        say(`outside the slide (${[left, top, right, bottom].map(Math.round)})`, e);
      const hidden = e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 2;
      if (hidden && e.clientWidth && e.tagName !== "IMG" && !inline(e) && !e.closest("mjx-container"))
        say(`cut off (${e.scrollWidth} x ${e.scrollHeight} in ${e.clientWidth} x ${e.clientHeight})`, e);
    }

    const drawn = [];  // the boxes of letters, formulas and figures, to see whether one lies on another
    const walker = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode, parent = text.parentElement, range = document.createRange();
      if (!text.data.trim() || parent.closest("mjx-container, svg, script, style")) continue;
      if (/\$|\\[([a-z]/.test(text.data) && !parent.closest("pre, code")) say("formula not rendered", text);
      if (parent.closest("aside.notes")) continue;
      const size = parseFloat(getComputedStyle(parent).fontSize) * (parent.currentCSSZoom ?? 1);
      if (size < 14.5) say("letters too small", text);
      range.selectNodeContents(text);
      for (const box of range.getClientRects()) drawn.push([box, blockOf(parent), text]);
    }
    for (const e of slide.querySelectorAll("mjx-merror, [data-mjx-error]")) say("formula not rendered", e);
    for (const e of slide.querySelectorAll(":is(mjx-container svg, img):not(aside.notes *)"))
      drawn.push([e.getBoundingClientRect(), blockOf(e.parentElement), e]);
    for (const [i, [a, blockA, first]] of drawn.entries())
      for (const [b, blockB, second] of drawn.slice(i + 1)) {
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);  // lines' boxes are taller than letters
        const down = Math.min(a.bottom - a.height / 5, b.bottom - b.height / 5)
          - Math.max(a.top + a.height / 5, b.top + b.height / 5);
        if (blockA !== blockB && across > 2 && down > 2) say(`lies on "${words(second)}"`, first);
      }

    for (const e of slide.querySelectorAll(".output, .verdict"))
      if (!e.innerText.trim() && !e.querySelector("img, svg")) say("an output that shows nothing", slide);
    for (const image of slide.querySelectorAll("img")) {
      if (!image.alt.trim() || image.alt.startsWith("No description has been")) say("an image without alt text", slide);
      const wide = Math.min(image.clientWidth, image.clientHeight * image.naturalWidth / image.naturalHeight);
      if (!(wide >= 320)) say(`figure drawn ${Math.round(wide)} pixels wide`, image);
    }
  }
  return [slides.length, faults];
}"""


def check(browser: Browser, deck: Path) -> tuple[int, list[str]]:
    """Open a deck from its file, show every slide with all its fragments, and return (slides, faults)."""
    faults, page, here = [], browser.new_page(viewport=SIZE), deck.resolve().as_uri()

    def requested(request: Request) -> None:
        if request.url.split("#")[0] != here and not request.url.startswith(("data:", "blob:")):
            faults.append(f"a request leaves the file: {request.url}")

    page.on("request", requested)
    page.on("console", lambda message: message.type == "error" and faults.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"script error: {error}"))
    try:
        page.goto(here)
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        page.evaluate("MathJax.startup.promise")
        page.wait_for_function("!document.querySelector('[data-explorable]:not(.ready)')")
        slides, seen = page.evaluate(LOOK)
    finally:
        page.close()
    return slides, faults + seen
