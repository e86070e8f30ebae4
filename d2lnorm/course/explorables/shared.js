// In front of each explorable: arithmetic, checks of a state, seeded draws, and the stage on which it is drawn.
const [BLUE, RED, GREEN] = ["#0072B2", "#D55E00", "#009E73"]; // the course's palette
const sum = (v) => v.reduce((a, b) => a + b, 0);
const mean = (v) => sum(v) / v.length;
const variance = (v, m = mean(v)) => mean(v.map((x) => (x - m) ** 2));
const range = (n) => [...Array(n).keys()];
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const near = (a, b) => Math.abs(a - b) < 1e-9;

// A number in words, with so many digits behind the point, or with three digits in all: "-0.50", "12.3", "1.2e+9".
const large = (x) => Math.abs(x) >= 1e5, small = (x) => x && Math.abs(x) < 1e-3;
const fixed = (x, digits = 2) => (large(x) ? x.toExponential(1) : x.toFixed(digits).replace(/^-(0\.?0*)$/, "$1"));
const short = (x) => (x === null ? "none" : large(x) || small(x) ? x.toExponential(1) : `${+x.toPrecision(3)}`);

// What a value should be, by its rule: { flag } or { options } or { min, max, list: [fewest, most], whole, orNone }.
const wanted = ({ flag, options, list, min, max, whole, orNone }) =>
  flag ? "true or false" : options ? `one of ${options.join(", ")}`
  : (list ? `${[...new Set(list)].join(" to ")} numbers` : whole ? "a whole number" : "a number") +
    ` from ${min} to ${max}${orNone ? ", or none" : ""}`;

// A sentence about the first value of a state that breaks its rule; "" if there is none.
export function problem(spec, state) {
  for (const [name, rule] of Object.entries(spec)) {
    const { flag, options, list, min, max, whole, orNone } = rule, value = state[name];
    const number = (x) => typeof x === "number" && x >= min && x <= max && !(whole && x % 1);
    const right =
      flag ? typeof value === "boolean" : options ? options.includes(value)
      : list ? Array.isArray(value) && value.length >= list[0] && value.length <= list[1] && value.every(number)
      : number(value) || (orNone && value === null);
    const came = Array.isArray(value) && !value.length ? "an empty list" : String(value).slice(0, 60) || "empty";
    if (!right) return `${name} should be ${wanted(rule)}, but is ${came}.`;
  }
  return "";
}

// n numbers between 0 and 1 that depend on the seed alone (Mulberry32), and n standard normal ones (Box and Muller).
export function uniforms(seed, n) {
  let a = seed * 0x9e3779b9;
  return range(n).map(() => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  });
}
export function normals(seed, n) {
  const u = uniforms(seed, 2 * n);
  return range(n).map((i) => Math.sqrt(-2 * Math.log(1 - u[2 * i])) * Math.cos(2 * Math.PI * u[2 * i + 1]));
}

// A scale turns values into pixels, and back: scale(v), scale.invert(pixel).
const linear = (low, high, from, to) =>
  Object.assign((v) => from + ((v - low) / (high - low)) * (to - from), { low, high,
    invert: (pixel) => low + ((pixel - from) / (to - from)) * (high - low) });

// The stage: draw(state, stage) is called at each change. It names what it draws by a key, so that an element stays the
// same one from drawing to drawing (the hand does not lose it). The order is that of naming; what is not named goes.
export class Stage {
  constructor({ model, el }, title, spec, draw) {
    Object.assign(this, { model, spec, elements: new Map(), held: null, ranges: {} });
    this.root = this.at(el, "div", "root", { class: "explorable", role: "group", "aria-label": title });
    Object.assign(this.root.dataset, { lmSuppressShortcuts: "true", preventSwipe: "" }); // JupyterLab's, reveal.js's
    this.picture = this.at(this.root, "div", "picture", { class: "picture" });
    this.svg = this.at(this.picture, "svg", "svg", { role: "group", "aria-label": title });
    this.say("sentence", "", { role: "status" });
    this.controls = this.at(this.root, "div", "controls", { class: "form" });
    // What the hand does here is not for JupyterLab or the deck around; but a presenter's keys turn pages.
    for (const type of ["keydown", "keyup", "pointerdown", "pointermove", "pointerup", "touchstart", "touchmove"])
      this.root.addEventListener(type, (event) => {
        if (type === "touchstart" && event.target.closest(".handle")) event.preventDefault(); // the page stays
        if (!/^Page|Escape/.test(event.key)) event.stopPropagation();
      });
    const always = [...this.elements.keys()], first = this.state();
    this.again = () => this.set(first, Object.assign(this, { held: null, by: null }));
    this.draw = () => {
      [this.named, this.last] = [new Set(always), new Map()];
      this.width = clamp(this.picture.clientWidth || 640, 280, 720);
      const state = this.state(), wrong = problem(spec, state);
      this.shown = wrong ? this.size(0) : draw(state, this);
      this.say("sentence", wrong || this.shown.sentence);
      for (const [key, e] of this.elements) if (!this.named.has(key) && this.elements.delete(key)) e.remove();
    };
    const names = Object.keys(spec).map((name) => `change:${name}`), later = () => {
      if (!this.waits) queueMicrotask(() => ((this.waits = false), this.draw()));
      this.waits = true;
    };
    for (const name of names) model.on(name, later);
    const watch = new ResizeObserver(() => this.picture.clientWidth !== this.width && later());
    watch.observe(this.picture);
    this.draw();
    this.end = () => (watch.disconnect(), names.forEach((name) => model.off(name, later)));
  }
  state() { return Object.fromEntries(Object.keys(this.spec).map((name) => [name, this.model.get(name)])); }
  // What is shown when the hand takes hold of one thing: the drawing can tell what has changed since.
  hold(by, anew = by !== this.by) { if (anew) Object.assign(this, { held: this.shown, by }); }
  set(changes) {
    for (const [name, value] of Object.entries(changes)) this.model.set(name, value);
    this.model.save_changes();
  }
  at(parent, tag, key, attributes = {}, text) {
    let e = this.elements.get(key);
    if (!e) {
      const drawn = tag === "svg" || parent.namespaceURI.endsWith("svg");
      e = drawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
      this.elements.set(key, parent.insertBefore(e, this.last?.get(parent)?.nextSibling ?? null));
    }
    if (this.named) this.named.add(key), this.last.set(parent, e);
    for (const [name, value] of Object.entries(attributes))
      if (e.getAttribute(name) !== String(value)) e.setAttribute(name, value);
    if (text !== undefined && e.textContent !== text) e.textContent = text;
    return e;
  }
  size(height) {
    this.height = height;
    this.at(this.picture, "svg", "svg", { viewBox: `0 0 ${this.width} ${height}`, height });
  }
  shape(tag, key, attributes, text) { return this.at(this.svg, tag, key, attributes, text); }
  say(key, text, attributes = {}) { return this.at(this.root, "p", key, attributes, text); }
  text(key, x, y, text, more = {}) { return this.shape("text", key, { x, y, "text-anchor": "middle", ...more }, text); }
  line(key, x1, y1, x2, y2, more = {}) {
    return this.shape("line", key, { x1, y1, x2, y2, stroke: "currentColor", ...more });
  }
  table(key, rows) {
    const cells = (row) => row.map((cell, i) => (i ? `<td>${cell}</td>` : `<th scope="row">${cell}</th>`)).join("");
    this.at(this.root, "table", key).innerHTML = rows.map((row) => `<tr>${cells(row)}</tr>`).join("");
  }
  // A range that holds these values, with a margin. It stays the same as long as they fill a good part of it.
  around(key, values, least = 1) {
    const [low, high] = [Math.min(...values), Math.max(...values)], margin = Math.max(least, 0.3 * (high - low));
    const [from, to] = this.ranges[key] ?? [0, 0], edge = this.dragging ? 0 : 0.03 * (to - from);
    const fits = low >= from + edge && high <= to - edge && (this.dragging || 8 * (high - low + least) > to - from);
    return (this.ranges[key] = fits ? [from, to] : [low - margin, high + margin]);
  }
  axis(key, scale, y, label) {
    this.line(`${key} line`, scale(scale.low), y, scale(scale.high), y, { opacity: 0.6 });
    const span = scale.high - scale.low, steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500];
    const step = steps.find((s) => span / s < 9) ?? span / 4;
    for (let v = Math.ceil(scale.low / step) * step; v <= scale.high; v += step)
      this.text(`${key} ${short(v)}`, scale(v), y + 21, short(+v.toFixed(9)), { opacity: 0.8 });
    this.text(`${key} label`, scale(scale.low), y - 8, label, { "text-anchor": "start" });
  }
  // What the hand drags along a scale: a slider with a name and its value in words, for the keyboard, too.
  handle(key, x, y, { label, value, scale, upright, rule, color = BLUE, set }) {
    const { min, max, step = 0.1 } = rule, { low, high } = scale, way = upright ? "vertical" : "horizontal";
    const slider = { role: "slider", tabindex: 0, "aria-label": label, "aria-orientation": way };
    const now = { "aria-valuemin": min, "aria-valuemax": max, "aria-valuenow": value, "aria-valuetext": short(value) };
    const g = this.shape("g", key, { class: "handle", transform: `translate(${x} ${y})`, ...slider, ...now });
    for (const [part, r, fill] of [["reach", 22, "transparent"], ["ring", 12, "transparent"], ["dot", 8, color]])
      this.at(g, "circle", `${key} ${part}`, { r, fill, class: part }); // the reach is as large as a finger
    const move = (to, least = min, most = max) =>
      set(clamp(+(Math.round(to / step) * step).toFixed(6), Math.max(min, least), Math.min(max, most)));
    g.onpointerdown = (event) => {
      const away = (e, box = e.getBoundingClientRect()) =>
        Math.hypot(event.clientX - (box.left + box.right) / 2, event.clientY - (box.top + box.bottom) / 2);
      const nearest = [...this.svg.querySelectorAll(".handle")].sort((a, b) => away(a) - away(b))[0];
      if (nearest !== g) return nearest.onpointerdown(event); // their reaches overlap
      event.preventDefault();
      g.focus();
      g.setPointerCapture(event.pointerId);
      this.hold((this.dragging = key), true);
    };
    g.onpointermove = (event) => {
      const box = this.svg.getBoundingClientRect(); // which a slide may have scaled
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      if (this.dragging === key) move(scale.invert(upright ? y * this.height : x * this.width), low, high);
    };
    g.onpointerup = g.onpointercancel = () => this.draw((this.dragging = null));
    g.onkeydown = (event) => {
      const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key] * (event.shiftKey ? 10 : 1);
      const to = { Home: low, End: high }[event.key] ?? value + way * step;
      if (isNaN(to)) return;
      event.preventDefault();
      move(to, this.hold(key));
    };
  }
  // A form control for one value of the state, chosen by its rule.
  control(name, label = name, words = short, max = this.spec[name].max) {
    const { flag, options, min, step = 1 } = this.spec[name], value = this.model.get(name);
    const text = flag || options ? "" : words(value), box = this.at(this.controls, "label", `${name} label`);
    this.at(box, "span", `${name} name`, {}, label);
    const kind = flag ? { type: "checkbox" } : { type: "range", min, max, step, "aria-valuetext": text };
    const e = this.at(box, options ? "select" : "input", `${name} input`, options ? {} : kind);
    for (const option of options ?? [])
      this.at(e, "option", `${name} is ${option}`, { value: option }, words === short ? String(option) : words(option));
    if (flag) e.checked = value;
    else if (e.value !== String(value)) e.value = value ?? min;
    if (text) this.at(box, "output", `${name} output`, { "aria-hidden": true }, text);
    e.onpointerdown = () => this.hold(name, true);
    e.onkeydown = (event) => (/^Page/.test(event.key) ? event.preventDefault() : this.hold(name));
    e.oninput = () => {
      this.hold(name);
      this.set({ [name]: flag ? e.checked : options ? options[e.selectedIndex] : Number(e.value) });
    };
    return e;
  }
  button(label, act, disabled = false, key = label) {
    const e = this.at(this.controls, "button", `button ${key}`, { type: "button" }, label);
    Object.assign(e, { disabled, onclick: () => act(this.hold(key, true)) });
  }
}
