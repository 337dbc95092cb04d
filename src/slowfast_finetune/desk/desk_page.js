"use strict";
(async () => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  const AHEAD = 4, MOST_NUMBERED = 9, HISTORY_SHOWN = 50;
  const REASONS = {
    "doubtful": "The model, trained without this video, doubts its label",
    "least sure": "The model, trained without this video, agrees, but is less sure than of most labels",
    "confident mistake": "The model is sure of another label",
    "near copy": "A video that is nearly the same has another label",
    "unlabelled": "No label yet; the model is unsure of it, and it is unlike the others that are asked about",
    "random": "Drawn at random, to estimate how many labels are wrong",
  };
  const OF_A_PART = { reason: "A part of a video that was split", guesses: [], neighbours: [] };
  const make = (tag, text, parent) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    parent?.append(element);
    return element;
  };
  // Remembered as long as the server runs: the address holds its token.
  // seen: cases that were shown with the model's opinion; made: keys of this window's decisions.
  const memory = { seen: [], made: [] };
  try { Object.assign(memory, JSON.parse(sessionStorage.getItem(location.pathname))); } catch { /* private windows */ }
  function remember(changed) {
    Object.assign(memory, changed);
    try { sessionStorage.setItem(location.pathname, JSON.stringify(memory)); } catch { /* private windows */ }
  }
  const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
  const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

  let opinions = null; // of the model, by the names of cases; null while blind
  let state, numbered = [], sending = Promise.resolve(), pending = 0;
  // Stopped by the person; stepping through frames stops a loop only until the next case.
  let stopped = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let loops = [], playing = !stopped, cutting = false;
  const fetched = new Map(), saved = new Map();

  // Loops: a picture of frames, which a canvas shows one after the other.

  function fetchLoop(name, kind) {
    const key = `${kind} ${name}`;
    if (!fetched.has(key)) {
      const entry = { ready: null };
      entry.promise = (async () => {
        const answer = await fetch(`loop?${new URLSearchParams({ name, kind })}`);
        if (!answer.ok) throw new Error((await answer.json()).detail);
        const facts = JSON.parse(answer.headers.get("x-loop"));
        return (entry.ready = { ...facts, bitmap: await createImageBitmap(await answer.blob()) });
      })();
      entry.promise.catch(() => fetched.delete(key));
      fetched.set(key, entry);
      while (fetched.size > 80) {
        const [oldest, old] = fetched.entries().next().value;
        old.ready?.bitmap.close();
        fetched.delete(oldest);
      }
    }
    const entry = fetched.get(key);
    fetched.delete(key); // the most recently used comes last
    fetched.set(key, entry);
    return entry;
  }

  function showLoop(canvas, name, kind, then) {
    const shown = { canvas, name, loop: null, frame: -1, began: performance.now(), held: 0 };
    loops.push(shown);
    const begin = (loop) => {
      if (!loops.includes(shown)) return;
      shown.loop = loop;
      [canvas.width, canvas.height] = [loop.width, loop.height];
      shown.began = performance.now();
      draw(shown, shown.began);
      then?.(shown);
    };
    const entry = fetchLoop(name, kind);
    if (entry.ready) begin(entry.ready);
    else entry.promise.then(begin, (error) => { canvas.setAttribute("aria-label", `cannot be shown: ${error.message}`); if (kind === "case") problem(`${name}: cannot be shown: ${error.message}`); });
    return shown;
  }

  function draw(shown, now) {
    const { loop, canvas } = shown;
    if (!loop) return;
    const frame = playing ? Math.floor((now - shown.began) / 1000 / loop.step) % loop.count : shown.held % loop.count;
    if (frame === shown.frame || frame < 0) return;
    shown.frame = frame;
    const left = (frame % loop.columns) * loop.width, top = Math.floor(frame / loop.columns) * loop.height;
    canvas.getContext("2d").drawImage(loop.bitmap, left, top, loop.width, loop.height, 0, 0, loop.width, loop.height);
    if (canvas.id === "loop") {
      $("seek").value = frame;
      $("time").textContent = `${seconds(shown).toFixed(2)} s`;
    }
  }

  const seconds = (shown) => shown.loop.start + shown.frame * shown.loop.step;
  function tick(now) {
    for (const shown of loops) draw(shown, now);
    requestAnimationFrame(tick);
  }

  function play(on) {
    const now = performance.now();
    for (const shown of loops) {
      if (!shown.loop) continue;
      if (on) shown.began = now - (shown.frame + 0.5) * shown.loop.step * 1000;
      else shown.held = shown.frame;
    }
    playing = on;
    $("play").textContent = on ? "pause" : "play";
  }

  function toggle() {
    stopped = playing;
    play(!stopped);
  }

  function seek(frame) {
    play(false);
    const shown = loops[0];
    if (!shown?.loop) return;
    shown.held = (frame + shown.loop.count) % shown.loop.count;
    draw(shown, 0);
  }

  // The queue

  const queue = () => {
    const list = [...state.cases];
    for (const part of state.parts) {
      if (list.some((one) => one.name === part.name)) continue;
      const parent = list.findLastIndex((one) => one.video === part.video);
      list.splice(parent + 1, 0, part);
    }
    return list;
  };
  const isOpen = (one) => !saved.has(one.name) && (state.decided[one.name]?.open ?? true);
  let shownName = null;
  const current = () => queue().find((one) => one.name === shownName);

  // The next case that is not decided; null if none is.
  function next(from = shownName) {
    const list = queue();
    const start = list.findIndex((one) => one.name === from);
    for (let moved = 1; moved <= list.length; moved += 1) {
      const one = list[(start + moved) % list.length];
      if (isOpen(one)) return one.name;
    }
    return null;
  }

  function show(name, event) {
    shownName = name;
    loops = [];
    cut(false);
    const one = current();
    $("case").hidden = !one;
    $("done").hidden = Boolean(one);
    progress();
    if (!one) { say("Nothing is left to decide."); return; }
    const label = labelOf(one);
    $("called").textContent = label ?? "no label";
    $("called").className = label ? "" : "none";
    const decided = state.decided[name];
    $("decided").textContent = decided && !decided.open ? `Decided: ${decided.said}. Another decision replaces it.` : "";
    $("decided").hidden = !$("decided").textContent;
    $("file").textContent = one.name;
    $("file").title = one.name;
    $("test-note").hidden = !one.test;
    numbers(label);
    const canvas = $("loop");
    canvas.setAttribute("aria-label", `${one.video}, as a loop`);
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    showLoop(canvas, one.name, "case", (shown) => {
      $("seek").max = shown.loop.count - 1;
      if (event) {
        // From the key to the first frame; read by the tests.
        requestAnimationFrame(() => performance.measure("next clip", { start: event.timeStamp }));
      }
    });
    opinion(one);
    let ahead = name;
    for (let count = 0; count < AHEAD; count += 1) {
      ahead = next(ahead);
      const coming = queue().find((other) => other.name === ahead);
      if (!coming || ahead === name) break;
      fetchLoop(ahead, "case");
      if (count < 2) for (const near of opinionOf(coming)?.neighbours ?? []) fetchLoop(near.name, "neighbour");
    }
  }

  // What speaks for the label or against it; nothing of it is on the page, or sent, while blind.
  const opinionOf = (one) => opinions && (opinions[one.name] ?? OF_A_PART);
  function opinion(one) {
    const label = labelOf(one), shown = opinionOf(one);
    const { guesses, neighbours } = shown ?? OF_A_PART;
    // At least a fifth of the labels is shown, so that the model may agree with some.
    const agrees = shown?.reason === "doubtful" && guesses[0]?.[0] === one.label;
    const reason = shown ? REASONS[agrees ? "least sure" : shown.reason] ?? shown.reason : "";
    if (shown && !memory.seen.includes(one.name)) remember({ seen: [...memory.seen, one.name] });
    $("reason").textContent = reason;
    $("opinion").hidden = !guesses.length;
    $("guesses").replaceChildren();
    for (const [guess, share] of guesses) {
      const bar = make("div", undefined, $("guesses"));
      bar.className = guess === label ? "bar own" : "bar";
      make("span", guess, bar).className = "name";
      const track = make("span", undefined, bar);
      track.className = "track";
      track.setAttribute("aria-hidden", "true");
      const fill = make("i", undefined, track);
      fill.className = "fill";
      fill.style.setProperty("--p", share);
      make("span", percent(share), bar).className = "value";
    }
    $("near").hidden = !neighbours.length;
    $("neighbours").replaceChildren();
    loops.length = 1;
    for (const near of neighbours) {
      const figure = make("figure", undefined, $("neighbours"));
      figure.className = near.label === label ? "same" : "other";
      const small = make("canvas", undefined, figure);
      small.setAttribute("role", "img");
      small.setAttribute("aria-label", `${near.name}, as a loop`);
      const caption = make("figcaption", undefined, figure);
      make("b", near.label, caption);
      make("span", near.similarity.toFixed(2), caption).title = "cosine similarity";
      showLoop(small, near.name, "neighbour");
    }
    const taken = guesses.length ? `; taken for ${guesses[0][0]}, ${percent(guesses[0][1])}` : "";
    say(`${label ? `Called ${label}` : "No label"}${taken}${reason && `. ${reason}`}`);
  }

  const labelOf = (one) => {
    const decided = state.decided[one.name];
    return decided ? decided.label : one.label;
  };

  function numbers(label) {
    numbered = state.classes.slice(0, MOST_NUMBERED);
    $("numbered").replaceChildren();
    numbered.forEach((name, index) => {
      const button = make("button", undefined, $("numbered"));
      button.type = "button";
      make("kbd", String(index + 1), button);
      button.append(` ${name}`);
      if (name === label) button.setAttribute("aria-current", "true");
      button.addEventListener("click", (event) => decide("label", { label: name }, event));
    });
  }

  function progress() {
    const list = queue();
    const done = list.filter((one) => !(state.decided[one.name]?.open ?? true)).length;
    const tests = list.filter((one) => one.test && isOpen(one)).length;
    $("progress-text").textContent = `${done} of ${list.length} decided${tests ? ` · ${count(tests, "test video")} last` : ""}${pending ? " · saving" : ""}`;
    $("progress").value = list.length ? done / list.length : 1;
    const estimate = state.estimate;
    $("estimate").textContent = estimate
      ? `Changed, split or dropped: ${estimate.wrong} of ${count(estimate.count, "random case")}${estimate.blind ? `, ${estimate.blind} of them decided blind` : ""}; still to be decided: ${estimate.drawn - estimate.count}. Share of wrong labels: ${percent(estimate.low)} to ${percent(estimate.high)} (95 % confidence interval; of the splits that have been asked about).`
      : "Known once random cases have been decided.";
    const history = $("history");
    history.replaceChildren();
    for (const made of state.history.slice(-HISTORY_SHOWN).reverse()) {
      const line = make("li", undefined, history);
      make("b", made.undone ? `undone: ${made.said}` : made.said, line);
      line.append(` ${made.name}`);
      if (made.stands) {
        const button = make("button", "undo", line);
        button.type = "button";
        button.setAttribute("aria-label", `undo ${made.said}, ${made.name}`);
        button.addEventListener("click", () => undo(made.key));
      }
    }
  }

  const say = (text) => { $("said").textContent = text; };
  function problem(text) {
    $("problem").textContent = text;
    $("problem").hidden = !text;
  }

  // Decisions are sent one after the other; the next case is shown meanwhile.

  function send(path, body) {
    pending += 1;
    const result = sending.then(async () => {
      const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body()) });
      const found = await answer.json();
      if (found.decided) state = { ...state, ...found };
      if (found.made) remember({ made: [...memory.made, found.made] });
      if (!answer.ok) throw new Error(typeof found.detail === "string" ? found.detail : "refused");
      problem("");
    });
    const not = path === "undo" ? "Not undone" : "Not saved";
    sending = result.catch((error) => {
      problem(error instanceof TypeError ? `${not}: the server does not answer. Start slowfast label again.` : `${not}: ${error.message}`);
      return false;
    }).finally(() => { pending -= 1; progress(); });
    return result;
  }

  function decide(action, more, event) {
    const one = current();
    if (!one) return;
    if (more.label && more.label === labelOf(one)) action = "keep";
    if (action === "keep" && !labelOf(one)) { problem("It has no label to keep: choose one, or drop it."); return; }
    const blind = !memory.seen.includes(one.name);
    saved.set(one.name, true);
    const result = send("decide", () => ({ name: one.name, action, blind, expected: state.decided[one.name]?.key ?? null, ...more }));
    const split = action === "split";
    if (!split) show(next(), event);
    result.then(() => true, () => false).then((good) => {
      saved.delete(one.name);
      if (!good || shownName === one.name && !split) show(one.name); // it may be looked at again
      else if (split) show(next(one.name), event);
    });
  }

  // The last decision of this window, unless told which. If it cannot be undone, because another
  // window has decided anew since, the next undo takes the one before.
  function undo(key) {
    let chosen;
    const forget = () => remember({ made: memory.made.filter((each) => each !== chosen) });
    send("undo", () => {
      chosen = key ?? memory.made.at(-1);
      if (!chosen) throw new Error("this window has no decision left; others have their buttons below.");
      forget(); // before the next undo is asked for
      return { key: chosen };
    }).then(() => {
      const undone = state.history.at(-1);
      show(queue().some((one) => one.name === undone.name) ? undone.name : shownName);
    }, (error) => {
      // Of no answer, or a table that cannot be read just now: it can still be undone.
      if (chosen && !/ since| already/.test(error.message)) remember({ made: [...memory.made, chosen] });
    });
  }

  function cut(on) {
    cutting = on;
    document.body.classList.toggle("cutting", on);
    $("cut-note").hidden = !on;
    if (!on) play(!stopped);
  }

  // Search

  const found = $("found"), search = $("search");
  let options = [], chosen = 0, asked = null; // asked: the new class that Enter would create
  function suggest() {
    const text = search.value.trim(), lower = text.toLowerCase();
    const ranked = state.classes.filter((name) => name.toLowerCase().includes(lower));
    ranked.sort((a, b) => b.toLowerCase().startsWith(lower) - a.toLowerCase().startsWith(lower));
    options = ranked.slice(0, 30).map((name) => ({ name }));
    if (text && !state.classes.includes(text)) {
      const place = search.dataset.mode === "new" ? 0 : options.length;
      options.splice(place, 0, { name: text, fresh: true });
    }
    chosen = text ? 0 : -1;
    asked = null;
    hint("");
    list();
  }
  function hint(text) {
    $("hint").textContent = text;
    $("hint").hidden = !text;
  }
  function list() {
    found.replaceChildren();
    options.forEach((option, index) => {
      const line = make("li", option.fresh ? `new label “${option.name}”` : option.name, found);
      line.id = `option-${index}`;
      line.setAttribute("role", "option");
      line.setAttribute("aria-selected", index === chosen);
      line.addEventListener("pointerdown", (event) => { event.preventDefault(); pick(index, event); });
    });
    found.hidden = !options.length;
    search.setAttribute("aria-expanded", !found.hidden);
    search.setAttribute("aria-activedescendant", options[chosen] ? `option-${chosen}` : "");
    found.children[chosen]?.scrollIntoView({ block: "nearest" });
  }
  function pick(index, event) {
    const option = options[index];
    if (!option) { hint("Type a label, or choose one with ↓."); return; }
    if (option.fresh && asked !== option.name) { ask(option); return; }
    leave();
    decide("label", { label: option.name }, event);
  }
  function ask(option) {
    asked = option.name;
    const near = nearest(asked);
    options = [option, ...(near ? [{ name: near }] : [])];
    chosen = 0;
    list();
    hint(`“${asked}” is a new class; it needs videos in train, val and test. Enter again to create it, Esc to go back${near ? `, ↓ for “${near}”` : ""}.`);
  }
  // The class that differs by the fewest letters (Levenshtein), if by at most two, and by no more than half.
  function nearest(name) {
    const apart = (a, b) => {
      let row = [...Array(b.length + 1).keys()];
      for (let i = 1; i <= a.length; i += 1) {
        const above = row;
        row = [i];
        for (let j = 1; j <= b.length; j += 1) row[j] = Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] !== b[j - 1]));
      }
      return row[b.length];
    };
    const most = Math.min(2, Math.floor(name.length / 2));
    const ranked = state.classes.map((each) => [apart(name.toLowerCase(), each.toLowerCase()), each]);
    return ranked.filter(([letters]) => letters <= most).sort(([a], [b]) => a - b)[0]?.[1];
  }
  function leave() {
    search.value = "";
    search.blur();
    found.hidden = true;
    search.setAttribute("aria-expanded", "false");
  }
  search.addEventListener("input", suggest);
  search.addEventListener("focus", () => { search.dataset.mode ||= "search"; suggest(); });
  search.addEventListener("blur", () => { search.dataset.mode = ""; found.hidden = true; hint(""); });
  // Safari ends a composition before its last key, which then has the code 229.
  const composes = (event) => event.isComposing || event.keyCode === 229;
  search.addEventListener("keydown", (event) => {
    if (composes(event)) return;
    if (event.key === "Escape") { if (asked) suggest(); else leave(); }
    else if (event.key === "Enter") { if (!event.repeat) pick(chosen, event); }
    else if (event.key === "ArrowDown") { chosen = (chosen + 1) % options.length; list(); }
    else if (event.key === "ArrowUp") { chosen = (chosen > 0 ? chosen : options.length) - 1; list(); }
    else if (!event.repeat || search.value) return; // the key that opened the field may still be held
    event.preventDefault();
    event.stopPropagation();
  });
  function open(mode) {
    search.dataset.mode = mode;
    search.focus();
  }

  // Keys

  const help = $("help");
  const keep = (event) => decide("keep", {}, event);
  const onward = (event) => show(next(), event);
  // The case before, decided or not; the last one, if there is none.
  function back(event) {
    const list = queue(), place = list.findIndex((one) => one.name === shownName);
    show(list.at(Math.max(place, 0) - 1)?.name ?? null, event);
  }
  function split(event) {
    const shown = loops[0];
    if (!shown?.loop) return;
    if (!cutting) { play(false); cut(true); say("Split here? Press s again."); return; }
    const time = seconds(shown);
    cut(false);
    decide("split", { at: time }, event);
  }
  const ALWAYS = {
    "?": () => (help.open ? help.close() : help.showModal()),
    "u": () => undo(),
    "b": () => $("blind").click(),
    "ArrowLeft": back,
  };
  const OF_A_CASE = {
    "Escape": () => cut(false),
    "Enter": keep, "k": keep,
    "/": () => open("search"), "l": () => open("search"),
    "n": () => open("new"),
    "d": (event) => decide("drop", {}, event),
    " ": onward, "ArrowRight": onward,
    "p": toggle,
    ",": () => seek((loops[0]?.frame ?? 0) - 1), ".": () => seek((loops[0]?.frame ?? 0) + 1),
    "s": split,
  };
  for (let digit = 1; digit <= MOST_NUMBERED; digit += 1) {
    OF_A_CASE[digit] = (event) => { if (numbered[digit - 1]) decide("label", { label: numbered[digit - 1] }, event); };
  }
  function press(key, event) {
    if (help.open && key !== "?") return false;
    const does = ALWAYS[key] ?? (current() ? OF_A_CASE[key] : undefined);
    // A key that is held decides one case alone.
    if (!event.repeat || key === "," || key === ".") does?.(event);
    return Boolean(does);
  }
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || composes(event) || !state) return;
    const target = event.target;
    if (target === search) return;
    // Buttons and the slider keep the keys that they need.
    if (target.closest("button, a") && ["Enter", " "].includes(event.key) && !event.repeat) return;
    if (target.id === "seek" && event.key.startsWith("Arrow")) return;
    if (press(event.key, event)) event.preventDefault();
  });
  // A button clicked by a pointer gives up the focus, so that Enter keeps the next case. First of all
  // listeners: a dialog returns the focus to where it was. A click by a key has the detail 0.
  addEventListener("click", (event) => { if (event.detail) event.target.closest("button")?.blur(); }, true);
  for (const button of document.querySelectorAll("[data-key]")) {
    button.addEventListener("click", (event) => press(button.dataset.key, event));
  }
  $("seek").addEventListener("input", (event) => seek(Number(event.target.value)));
  $("play").addEventListener("click", toggle);
  $("help-button").addEventListener("click", () => help.showModal());
  async function hide(blind) {
    remember({ blind });
    $("blind").setAttribute("aria-pressed", blind);
    opinions = null;
    if (!blind) {
      const found = await fetch("opinions").then((answer) => answer.json()).catch(() => null);
      if (!found) problem("The model's opinion cannot be shown: the server does not answer.");
      if (!memory.blind) opinions = found; // it may have been hidden again meanwhile
    }
    const one = current();
    if (one) opinion(one);
  }
  $("blind").addEventListener("click", () => hide(!memory.blind));
  $("theme").addEventListener("click", () => {
    const dark = getComputedStyle(root).colorScheme === "dark" ||
      (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* private windows */ }
  });
  // Another window may have decided meanwhile.
  addEventListener("visibilitychange", async () => {
    if (document.hidden || !state || pending) return;
    const answer = await fetch("progress").catch(() => null);
    if (!answer?.ok || pending) return;
    const one = current(), wasOpen = one && isOpen(one);
    state = { ...state, ...(await answer.json()) };
    if (wasOpen && !isOpen(one)) show(next());
    else progress();
  });
  addEventListener("beforeunload", (event) => { if (pending) event.preventDefault(); });

  state = await (await fetch("state")).json();
  await hide(memory.blind ?? state.blind);
  document.title = `Label desk – ${state.project}`;
  $("table").textContent = state.table;
  play(playing);
  show(next(null));
  requestAnimationFrame(tick);
})();
