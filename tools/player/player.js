"use strict";
// One update or one race, step by step. The data are made by data.py, which says what a mark is.
(() => {
  const box = document.currentScript.parentElement;
  const data = JSON.parse(box.querySelector("script[type='application/json']").textContent);
  const part = (name) => box.querySelector(`[data-${name}]`);
  const choice = (name) => part(`choice="${name}"`);
  const bits = (mark) => parseInt(mark, 32) & 15, isUp = (mark) => parseInt(mark, 32) > 15;
  const every = (1 << data.versions.length) - 1;
  const now = { mode: "update", step: 0, ...data.start };

  // What stands under these choices.
  const layout = () => data.layouts[now.layout];
  const flag = () => (data.writers[now.writer].always || now.flag ? 1 : 0);
  const writer = () => `${now.writer}/${flag()}/${now.layout}`;
  const plan = () => data.plans[data.plans_at[writer()][now.at - data.first]];
  const refused = () => typeof plan() === "string";
  function execution() {
    const row = data.rows && data.rows[data.verdicts[`${writer()}/${now.reader}/${now.machine}`]];
    return row && data.executions[row[now.at - data.first]];
  }
  const verdict = () => (refused() ? "refused" : execution() ? "torn" : "safe");

  // Words for a place in the struct, and for the versions that bytes are of.
  function span(at, size) {
    if (at === layout().flag && size === 1 && layout().byte) return layout().byte;
    const inside = layout().elements.filter(([, first, n]) => first < at + size && at < first + n);
    const names = inside.map(([name, first, n]) => {
      const from = Math.max(at, first) - first, end = Math.min(at + size, first + n) - first;
      if (end - from === n) return name;
      return `${end - from === 1 ? `byte ${from}` : `bytes ${from} to ${end - 1}`} of ${name}`;
    }).filter((name, _, all) => name !== "padding" || all.length === 1);
    return names.length > 1 ? `${names[0]} to ${names[names.length - 1]}` : names[0] || "nothing";
  }
  const version = (mask) => data.versions.filter((_, i) => mask >> i & 1).join(" or ");
  const common = (memory, uses) => uses.reduce((all, at) => all & bits(memory[at]), every);
  function whose(memory, uses) {
    const parts = [];
    for (const [name, first, n] of layout().elements.filter(([title]) => title !== "padding")) {
      const used = uses.filter((at) => at >= first && at < first + n && memory[at] !== " ");
      const mask = common(memory, used), last = parts[parts.length - 1];
      const said = mask === every ? "" : mask ? version(mask) : "in parts";
      if (last && last.said === said) last.to = ` to ${name}`;
      else parts.push({ from: name, to: "", said });
    }
    const known = parts.filter(({ said }) => said);
    return known.map(({ from, to, said }) => `${from}${to}: ${said}`).join(", ");
  }
  // What a guest accepts that looks at all of it at this moment.
  function looks(memory) {
    const { refuses, uses } = data.readers[now.reader][now.layout];
    if (refuses && isUp(memory[layout().flag])) return "again";
    return common(memory, uses) ? "true" : "mixture";
  }
  function answer(memory) {
    const { uses } = data.readers[now.reader][now.layout];
    const found = { again: `sees ${layout().seen}, and reads again`,
      true: `accepts a true struct: ${version(common(memory, uses))}`,
      mixture: `accepts a mixture: ${whose(memory, uses)}` }[looks(memory)];
    return `A guest that reads by ${now.reader} at this moment ${found}.`;
  }

  // The moments: what happened, with memory and what the guest has loaded after it.
  const put = (struct, at, marks) => [...struct].map((mark, i) => marks[i - at] || mark).join("");
  function moments() {
    const raced = now.mode === "race" && execution(), { size } = layout();
    let memory = raced ? raced.before : data.before[now.layout], copy = " ".repeat(size);
    const found = [{ by: "", text: "before the update", memory, copy, at: 0, n: 0 }];
    const happens = (by, text, at, n) => found.push({ by, text, memory, copy, at, n });
    for (const number of raced ? raced.events : []) {
      const [stored, at, marks] = data.events[number], n = marks.length, where = span(at, n);
      const piece = stored > n ? `, a piece of a store of ${stored} bytes` : "";
      [memory, copy] = stored ? [put(memory, at, marks), copy] : [memory, put(copy, at, marks)];
      const [who, verb] = stored ? ["hypervisor", "stores"] : ["guest", "loads"];
      happens(who, `${verb} ${where}${piece}`, at, n);
    }
    if (raced) {
      copy = raced.accepted;
      const { uses } = data.readers[now.reader][now.layout];
      happens("guest", `accepts what was never true: ${whose(copy, uses)}`, 0, 0);
      found[found.length - 1].ends = true;
    }
    for (const step of raced || refused() ? [] : plan()) {
      const [page, at, marks, copied] = step || [0, 0, "", 0], n = marks.length;
      memory = put(memory, at, marks);
      const holds = flag() && at <= layout().flag && layout().flag < at + n;
      const raised = holds ? `, ${isUp(memory[layout().flag]) ? layout().up : layout().down}` : "";
      const what = `${n} byte${n > 1 ? "s" : ""} to page ${page}: ${span(at, n)}${raised}`;
      if (step) happens("hypervisor", `${copied ? "copies" : "stores"} ${what}`, at, n);
      else happens("", "write barrier", 0, 0);
    }
    return found;
  }

  // The drawing.
  function cell(mark, at, kind, isHot, name) {
    const made = document.createElement("span"), none = mark === " ";
    const up = !none && isUp(mark), mask = none ? 0 : bits(mark);
    const one = data.versions.find((_, i) => mask === 1 << i) || (mask ? "..." : "?");
    const text = none ? "" : up ? layout().mark : mask === every ? "=" : one;
    made.textContent = data.hex ? data.hex[now.step].slice(2 * at, 2 * at + 2) : text;
    const age = mask === every ? "same" : mask ? `v-${31 - Math.clz32(mask)}` : "v-none";
    const second = name === "memory" && now.at + at >= data.page ? "second" : "";
    made.className = `k-${kind} ${up ? "up" : age} ${second} ${isHot ? "hot" : ""}`;
    return made;
  }
  function board(name, struct, from, to) {
    const target = part(`bytes="${name}"`);
    target.replaceChildren(...layout().elements.map(([title, first, n, kind]) => {
      const row = document.createElement("div"), label = document.createElement("b");
      label.textContent = title;
      row.append(label, ...[...struct.slice(first, first + n)].map((mark, i) =>
        cell(mark, first + i, kind, from <= first + i && first + i < to, name)));
      return row;
    }));
    target.setAttribute("aria-label", `${name}: ${whose(struct, [...struct].map((_, at) => at))}`);
  }
  function show() {
    if (verdict() !== "torn") now.mode = "update";
    const all = moments(), { size } = layout(), split = now.at + size - data.page;
    now.step = Math.max(0, Math.min(now.step, all.length - 1));
    const { by, text, memory, copy, at, n, ends } = all[now.step], raced = now.mode === "race";
    const hex = `0x${now.at.toString(16)}`;
    part("place").textContent = `${now.layout}, at page offset ${now.at} (${hex}): `
      + (split > 0 ? `${split} of its ${size} bytes are in the second page`
        : `all of its ${size} bytes are in one page`);
    part("verdict").hidden = !data.rows && !refused();
    part("verdict").className = `verdict ${verdict()}`;
    part("verdict").textContent = { refused: `refused: ${plan()}`,
      torn: `torn: there is an interleaving in which ${now.reader} accepts what was never true`,
      safe: `safe: in no interleaving does ${now.reader} accept what was never true` }[verdict()];
    const wide = data.window + size, strip = part("area").parentElement;
    strip.hidden = now.at + data.window < data.page; // one place, far from the end
    part("area").style.left = `${100 * (now.at - data.page + data.window) / wide}%`;
    part("area").style.width = `${100 * size / wide}%`;
    strip.style.setProperty("--edge", `${100 * data.window / wide}%`);
    part('board="copy"').hidden = !raced;
    board("memory", memory, at, by === "hypervisor" ? at + n : at);
    board("copy", copy, at, by === "guest" ? at + n : at);
    part("log").replaceChildren(...all.slice(1).map((one, i) => {
      const item = document.createElement("li");
      item.textContent = `${one.by} ${one.text}`.trim();
      item.className = `${one.by || "barrier"}${i + 1 === now.step ? " current" : ""}`;
      return item;
    }));
    const said = raced ? `The ${by} ${text}.`.replace("The  b", "B") : answer(memory);
    part("now").textContent = refused() ? "Nothing is written." : said;
    part("now").classList.toggle("torn", raced ? Boolean(ends) : looks(memory) === "mixture");
    part("count").textContent = `step ${now.step} of ${all.length - 1}`;
    choice("step").max = all.length - 1;
    for (const name of ["writer", "layout", "reader", "machine", "at", "step"]) {
      choice(name).value = now[name];
    }
    Object.assign(choice("flag"), { checked: flag(), disabled: data.writers[now.writer].always });
    for (const button of box.querySelectorAll("[data-mode]")) {
      button.hidden = verdict() !== "torn";
      button.setAttribute("aria-pressed", String(button.dataset.mode === now.mode));
    }
    const seen = all.map((one) => [one.memory, looks(one.memory), one.copy]);
    box.dataset.shown = JSON.stringify([verdict(), seen]); // for tests
  }

  // The controls.
  const lists = ["writer", "layout", "reader"].map((name) => [name, Object.keys(data[`${name}s`])]);
  for (const [name, values] of [...lists, ["machine", data.machines]]) {
    choice(name).replaceChildren(...values.map((value) => new Option(value, value)));
    part(`label="${name}"`).hidden = values.length < 2;
  }
  Object.assign(choice("at"), { min: data.first, max: data.last });
  part('label="at"').classList.toggle("fixed", data.first === data.last);
  part('label="flag"').hidden = !data.flags;
  const change = (values) => { Object.assign(now, values); show(); };
  box.addEventListener("input", ({ target: { dataset, value, checked } }) => {
    const name = dataset.choice, number = name === "at" || name === "step";
    const chosen = name === "flag" ? Number(checked) : number ? Number(value) : value;
    change(name === "step" ? { step: chosen } : { [name]: chosen, step: 0 });
  });
  const press = (what, act) => box.querySelectorAll(what).forEach((button, i) =>
    button.addEventListener("click", () => act(button, i)));
  press("[data-go]", ({ dataset }) => change({ step: now.step + Number(dataset.go) }));
  press("[data-mode]", ({ dataset }) => change({ mode: dataset.mode, step: 0 }));
  press(".story button", (pressed, i) => {
    const buttons = box.querySelectorAll(".story button");
    buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === pressed)));
    part("told").textContent = data.story[i].text;
    change(data.story[i].set);
  });
  for (const event of ["pointerdown", "pointermove"]) {
    part("area").parentElement.addEventListener(event, ({ buttons, clientX, currentTarget }) => {
      const { left, width } = currentTarget.getBoundingClientRect(), { size } = layout();
      const at = Math.round((data.window + size) * (clientX - left) / width - size / 2);
      const inside = Math.max(data.first, Math.min(data.last, at + data.page - data.window));
      if (buttons === 1) change({ at: inside, step: 0 });
    });
  }
  if (data.story) box.querySelector(".story button").click();
  else show();
  box.hidden = false;
})();
