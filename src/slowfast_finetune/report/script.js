"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  document.getElementById("theme").addEventListener("click", () => {
    const dark = getComputedStyle(root).colorScheme === "dark" ||
      (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* private windows */ }
  });

  const matrix = document.querySelector(".matrix");
  for (const button of all(".toggle button")) {
    button.addEventListener("click", () => {
      matrix.dataset.show = button.dataset.show;
      for (const other of all(".toggle button")) other.setAttribute("aria-pressed", other === button);
    });
  }

  const buttons = all("button[data-cell]", matrix);
  let chosen = null;
  function choose(id, { move }) {
    const panel = document.getElementById(`cell-${id}`);
    if (!panel) return;
    if (chosen) chosen.open = false;
    chosen = panel;
    panel.open = true;
    for (const button of buttons) button.setAttribute("aria-expanded", button.dataset.cell === id);
    if (!move) return;
    const heading = panel.querySelector("summary");
    heading.focus({ preventScroll: true });
    heading.scrollIntoView({ block: "nearest" });
    if (heading.getBoundingClientRect().top > innerHeight * 0.6) heading.scrollIntoView({ block: "center" });
  }
  for (const button of buttons) {
    button.addEventListener("click", () => choose(button.dataset.cell, { move: true }));
    button.addEventListener("keydown", (event) => step(event, button));
  }

  // Arrow keys go to the next cell that holds videos.
  function step(event, button) {
    const ways = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    let cell = button.closest("td");
    do {
      const row = matrix.rows[cell.parentElement.rowIndex + way[1]];
      cell = row?.cells[cell.cellIndex + way[0]];
    } while (cell && cell.tagName === "TD" && !cell.querySelector("button"));
    cell?.querySelector("button")?.focus();
  }

  for (const summary of all(".cell > summary")) {
    // The table opens and closes them; a click on the heading does nothing.
    summary.addEventListener("click", (event) => event.preventDefault());
  }
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !chosen || !chosen.contains(document.activeElement)) return;
    buttons.find((button) => `cell-${button.dataset.cell}` === chosen.id)?.focus();
  });
  choose(document.getElementById("cells").dataset.start, { move: false });

  // A contact sheet is a button that plays its frames in its place, and stops.
  const GAP = 2; // between frames, as in contact_sheets.py
  for (const sheet of all("img.sheet[data-frames]")) {
    const button = document.createElement("button");
    button.className = "player";
    button.setAttribute("aria-label", `play the ${sheet.alt}`);
    button.setAttribute("aria-pressed", "false");
    sheet.replaceWith(button);
    button.append(sheet);
    button.addEventListener("click", () => play(button, sheet));
  }
  function play(button, sheet) {
    const playing = button.querySelector("canvas");
    sheet.hidden = !playing;
    button.setAttribute("aria-pressed", String(!playing));
    if (playing) return playing.remove();
    const [frames, columns] = [Number(sheet.dataset.frames), Number(sheet.dataset.columns)];
    const width = (sheet.naturalWidth + GAP) / columns;
    const height = (sheet.naturalHeight + GAP) / Math.ceil(frames / columns);
    const screen = Object.assign(document.createElement("canvas"), { className: "sheet", width: width - GAP, height: height - GAP });
    button.append(screen);
    let frame = 0;
    const draw = () => {
      if (!screen.isConnected) return clearInterval(timer);
      const place = [(frame % columns) * width, Math.floor(frame / columns) * height];
      screen.getContext("2d").drawImage(sheet, ...place, screen.width, screen.height, 0, 0, screen.width, screen.height);
      frame = (frame + 1) % frames;
    };
    const timer = setInterval(draw, 250);
    draw();
  }

  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      const link = links.get(entry.target.id);
      link.setAttribute("aria-current", "true");
      link.closest("ul").scrollTo({ left: link.offsetLeft - 60 });
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const id of links.keys()) seen.observe(document.getElementById(id));

  addEventListener("beforeprint", () => {
    for (const button of all('.player[aria-pressed="true"]')) button.click();
    for (const details of all(".printed, .findings details")) details.open = true;
  });
})();
