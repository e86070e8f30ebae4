// On a page or a slide, where no kernel is: gives each [data-explorable] its module and a model. Python writes the
// object EXPLORABLES in front of it: { shared, style, modules, states }.
(() => {
  const { shared, style, modules, states } = EXPLORABLES, loaded = {};
  const load = (name) =>
    (loaded[name] ??= import(URL.createObjectURL(new Blob([shared, modules[name]], { type: "text/javascript" }))));

  // What the modules use of a model of anywidget's.
  function modelOf(state, saved) {
    const heard = {};
    return {
      get: (name) => state[name],
      set(name, value) {
        state[name] = value;
        for (const hear of heard[`change:${name}`] ?? []) hear();
      },
      save_changes: () => saved(state),
      on: (event, hear) => (heard[event] ??= new Set()).add(hear),
      off: (event, hear) => heard[event]?.delete(hear),
    };
  }

  // The state that a link asks for, as in "values=1,2,9&training=false"; what it does not name stays as it is.
  function read(spec, text, state, problem) {
    const read = { ...state }, number = (word) => (word.trim() ? Number(word) : NaN);
    for (const [name, word] of new URLSearchParams(text)) {
      const rule = spec[name];
      if (!rule) return { wrong: `There is no ${name} here, only ${Object.keys(spec).join(", ")}.` };
      read[name] =
        rule.flag ? ({ true: true, false: false }[word] ?? word)
        : rule.options ? (rule.options.find((option) => String(option) === word) ?? word)
        : rule.list ? (word ? word.split(",").map(number) : [])
        : rule.orNone && word === "none" ? null
        : number(word);
    }
    const wrong = problem(spec, read);
    return wrong ? { wrong } : read;
  }
  const written = (spec, state) =>
    Object.keys(spec).map((name) => `${name}=${state[name] ?? "none"}`).join("&");

  async function put(element) {
    const name = element.dataset.explorable, { default: widget, spec, problem } = await load(name);
    const note = element.appendChild(document.createElement("p")), link = document.createElement("a");
    const model = modelOf({ ...states[name] }, (state) => (link.href = `#${name}?${written(spec, state)}`));
    const become = (text) => {
      const { wrong, ...state } = read(spec, text, states[name], problem);
      note.textContent = wrong ? `This state does not fit: ${wrong} You see the usual one.` : "";
      note.className = wrong ? "wrong" : "";
      for (const key of Object.keys(spec)) model.set(key, (wrong ? states[name] : state)[key]);
      model.save_changes();
    };
    const follow = () => {
      const [id, text] = location.hash.slice(1).split("?");
      if (id !== name || text === undefined) return;
      become(text);
      element.scrollIntoView();
    };
    become(element.dataset.state);
    widget.render({ model, el: element });
    if (element.id) {
      link.textContent = "Link to this state";
      element.append(link);
      follow();
      addEventListener("hashchange", follow);
    }
    element.classList.add("ready");
  }

  addEventListener("DOMContentLoaded", () => {
    document.head.appendChild(document.createElement("style")).textContent = style;
    for (const element of document.querySelectorAll("[data-explorable]")) put(element);
  });
})();
