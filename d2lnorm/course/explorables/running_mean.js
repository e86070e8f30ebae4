// A stream of batches: what the running mean of batch norm follows, how far it lags behind, and how much it trembles.

const MOST = 64; // draws handed in for each batch
export const spec = {
  momentum: { min: 0, max: 1, step: 0.01, orNone: true },
  batch_size: { min: 2, max: MOST, step: 1, whole: true },
  drift: { min: -0.1, max: 0.1, step: 0.01 },
  steps: { min: 1, max: 100, step: 1, whole: true },
  seed: { min: 0, max: 1000, step: 1, whole: true },
};

// Batch t holds draws[t] + drift * t. `running` is what batch norm keeps; `smooth` is what it would keep if the mean of
// each batch were drift * t. So smooth - drift * t is the lag, and running - smooth the noise.
export function compute({ momentum, batch_size, drift, steps }, draws) {
  let [running, smooth, running_var] = [0, 0, 1];
  const batches = [], line = [];
  for (const t of range(steps)) {
    const batch = draws.slice(t * MOST, t * MOST + batch_size).map((z) => z + drift * (t + 1));
    const weight = momentum ?? 1 / (t + 1), m = mean(batch); // None: the plain average of all batches
    running += weight * (m - running);
    running_var += weight * ((variance(batch, m) * batch_size) / (batch_size - 1) - running_var);
    smooth += weight * (drift * (t + 1) - smooth);
    batches.push(m);
    line.push(running);
  }
  const now = drift * steps;
  return { batches, line, running, running_var, now, lag: smooth - now, noise: running - smooth };
}

function draw(state, stage) {
  const { momentum, steps, drift } = state, { max } = spec.steps, whole = { ...state, steps: max };
  const draws = normals(state.seed, max * MOST), result = compute(state, draws), all = compute(whole, draws);
  const [left, right, top, bottom] = [40, stage.width - 12, 14, 226];
  const [low, high] = stage.around("y", [...all.batches, 0], 0.3);
  const x = linear(0, max, left, right), y = linear(low, high, bottom, top);
  const path = (numbers) => numbers.map((v, t) => `${t ? "L" : "M"}${x(t + 1).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  stage.size(274);
  stage.axis("x axis", x, bottom + 6, "");
  stage.text("x name", right, bottom + 40, "batches seen", { "text-anchor": "end" });
  for (const v of [-4, -2, -1, 0, 1, 2, 4].filter((v) => v > low && v < high)) {
    stage.line(`level ${v}`, left, y(v), right, y(v), { opacity: 0.2 });
    stage.text(`level ${v} is`, left - 8, y(v) + 4, String(v), { "text-anchor": "end" });
  }
  const dots = result.batches.map((v, t) => `M${x(t + 1).toFixed(1)} ${y(v).toFixed(1)}h0`).join("");
  stage.shape("path", "dots", { d: dots, stroke: GREEN, "stroke-width": 6, "stroke-linecap": "round" });
  stage.line("truth", x(0), y(0), x(steps), y(drift * steps), { "stroke-dasharray": "6 4" });
  stage.shape("path", "line", { d: path(result.line), stroke: BLUE, "stroke-width": 2.5, fill: "none" });
  stage.shape("circle", "now", { cx: x(steps), cy: y(result.running), r: 6, fill: BLUE });
  stage.control("steps", "batches seen");
  stage.button("step", () => stage.set({ steps: Math.min(max, stage.state().steps + 1) }), steps === max);
  stage.button(stage.timer ? "stop" : "play", () => play(stage));
  if (momentum !== null) stage.control("momentum");
  const other = momentum === null ? "give it a momentum" : "momentum=None";
  stage.button(other, () => stage.set({ momentum: momentum === null ? 0.1 : null }));
  stage.control("batch_size", "batch size");
  stage.control("drift", "drift a batch");
  stage.button("other batches", () => stage.set({ seed: (state.seed + 1) % 1001 }));
  stage.button("start again", stage.again);
  stage.say("key", "Green dots: means of the batches. Blue line: the running mean. Dashed: the true mean.");
  const { running, running_var, now, lag, noise } = result;
  stage.say("parts", `True mean ${fixed(now)}, lag ${fixed(lag)}, noise ${fixed(noise)}: together ${fixed(running)}.`);
  const kind = momentum === null ? "the plain average of all batches" : `momentum ${short(momentum)}`;
  const sentence = `With ${kind}, evaluation would now take off a mean of ${fixed(running)} and divide by ` +
    `the root of ${fixed(running_var)} + eps.`;
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
