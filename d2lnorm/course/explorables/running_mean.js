// A stream of batches: what the running mean of batch norm follows, how far it lags behind, and how much it trembles.

const [MOST, START] = [64, 1]; // draws handed in for each batch; the true mean before the first
export const spec = {
  momentum: { min: 0, max: 1, step: 0.01, orNone: true },
  batch_size: { min: 2, max: MOST, step: 1, whole: true },
  drift: { min: -0.1, max: 0.1, step: 0.01 }, // of the true mean, a batch
  steps: { min: 1, max: 100, step: 1, whole: true },
  seed: { min: 0, max: 1000, step: 1, whole: true },
};

// Batch t holds draws[t] + truth(t): values of mean START + drift * t, and of variance 1. `running` is what batch norm
// keeps; `smooth` is what it would keep if the mean of each batch were the true one. So smooth - truth is the lag, and
// running - smooth the noise; `typical` is the noise's standard deviation, from the squares of all batches' weights.
export function compute({ momentum, batch_size, drift, steps }, draws) {
  let [running, smooth, running_var, squares] = [0, 0, 1, 0];
  const found = { batches: [], line: [], smooth: [], typical: [] };
  const truth = (t) => START + drift * t;
  for (const t of range(steps)) {
    const batch = draws.slice(t * MOST, t * MOST + batch_size).map((z) => z + truth(t + 1));
    const weight = momentum ?? 1 / (t + 1), m = mean(batch); // None: the plain average of all batches
    running += weight * (m - running);
    running_var += weight * ((variance(batch, m) * batch_size) / (batch_size - 1) - running_var);
    smooth += weight * (truth(t + 1) - smooth);
    squares = (1 - weight) ** 2 * squares + weight ** 2;
    found.batches.push(m);
    found.line.push(running);
    found.smooth.push(smooth);
    found.typical.push(Math.sqrt(squares / batch_size));
  }
  const now = truth(steps);
  return { ...found, running, running_var, now, lag: smooth - now, noise: running - smooth };
}

// The lag after very many batches, in words.
const last = ({ momentum, drift }) =>
  momentum === 0 ? "With momentum 0 it never moves."
  : momentum === null && drift ? "The lag grows for ever."
  : !drift ? "In the end there is no lag."
  : `In the end the lag is -drift (1 - momentum) / momentum = ${fixed((-drift * (1 - momentum)) / momentum)}.`;

function draw(state, stage) {
  const { momentum, steps, drift } = state, { max } = spec.steps, end = START + drift * max;
  const result = compute(state, normals(state.seed, max * MOST));
  const { running, running_var, now, lag, typical } = result;
  const [left, right, top, bottom] = [40, stage.width - 46, 14, 226];
  const [low, high] = [Math.min(0, end) - 1.5, Math.max(START, end) + 2], every = high - low > 8 ? 2 : 1;
  const x = linear(0, max, left, right), y = linear(low, high, bottom, top);
  const path = (numbers, from = 1) => numbers.map((v, t) => `${x(t + from).toFixed(1)} ${y(v).toFixed(1)}`).join("L");
  stage.size(274);
  stage.axis("x axis", x, bottom + 6, "");
  stage.text("x name", right, bottom + 40, "batches seen", { "text-anchor": "end" });
  for (const v of range(31).map((v) => v - 15).filter((v) => v >= low && v <= high && v % every === 0)) {
    stage.line(`level ${v}`, left, y(v), right, y(v), { opacity: 0.2 });
    stage.text(`level ${v} is`, left - 8, y(v) + 4, String(v), { "text-anchor": "end" });
  }
  const edge = (sign) => result.smooth.map((v, t) => v + sign * result.typical[t]);
  const under = path(edge(-1)).split("L").reverse().join("L");
  stage.shape("path", "band", { d: `M${path(edge(1))}L${under}Z`, fill: BLUE, opacity: 0.35 });
  const dots = result.batches.map((v, t) => `M${x(t + 1).toFixed(1)} ${y(v).toFixed(1)}h0`).join("");
  stage.shape("path", "dots", { d: dots, stroke: GREEN, "stroke-width": 6, "stroke-linecap": "round" });
  stage.line("truth", x(0), y(START), x(steps), y(now), { "stroke-width": 2, "stroke-dasharray": "6 4" });
  const d = `M${path([0, ...result.line], 0)}`;
  stage.shape("path", "line", { d, stroke: BLUE, "stroke-width": 2.5, fill: "none" });
  stage.text("now", x(steps) + 8, y(running) + 4, fixed(running), { "text-anchor": "start", "font-weight": 700 });
  stage.control("steps", "batches seen");
  stage.button("next batch", () => stage.set({ steps: Math.min(max, stage.state().steps + 1) }), steps === max);
  stage.button(stage.timer ? "stop" : "play", () => play(stage), false, "play");
  const none = momentum === null, other = none ? 0.1 : null;
  stage.control("momentum", "momentum", (m) => (m === null ? "None" : short(m))).disabled = none;
  stage.button(`momentum=${other ?? "None"}`, () => stage.set({ momentum: other }), false, "other momentum");
  stage.control("batch_size", "batch size");
  stage.control("drift", "drift of the true mean, a batch");
  stage.button("other batches", () => stage.set({ seed: (state.seed + 1) % 1001 }));
  stage.button("start again", stage.again);
  stage.say("key", "Dots: means of the batches. Dashed: the true mean. Line: the running mean, from 0 on (its " +
    "variance: from 1). Band: the typical noise about where it would lie without noise.");
  const plus = (v) => `${v < 0 ? "-" : "+"} ${fixed(Math.abs(v))}`, noise = fixed(running) - fixed(now) - fixed(lag);
  stage.say("parts", `Running mean ${fixed(running)} = true mean ${fixed(now)} ${plus(lag)} (lag, of the start at 0 ` +
    `and of the drift) ${plus(noise)} (noise of these draws; typical: ${fixed(typical.at(-1))}). ${last(state)}`);
  const kind = momentum === null ? "Momentum None: the plain average of all batches."
    : `Momentum ${short(momentum)}: the new batch counts ${short(100 * momentum)} %.`;
  const sentence = `${kind} Evaluation would now subtract the mean ${fixed(running)} and divide by ` +
    `root(variance ${fixed(running_var)} + eps).`;
  return { ...result, sentence };
}

// Ten batches a second; all that are left at once for those who asked their system for less motion.
function play(stage) {
  const stop = () => {
    clearInterval(stage.timer);
    stage.timer = 0;
    stage.draw();
  };
  if (stage.timer) return stop();
  const { max } = spec.steps, still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (still) return stage.set({ steps: max });
  if (stage.state().steps === max) stage.set({ steps: 1 });
  stage.timer = setInterval(() => {
    const { steps } = stage.state();
    if (steps < max && stage.root.isConnected) stage.set({ steps: steps + 1 });
    else stop();
  }, 100);
  stage.draw();
}

export default {
  render: (place) => new Stage(place, "The running mean of a stream of batches", spec, draw).end,
};
