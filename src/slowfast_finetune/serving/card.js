"use strict";
// A little Markdown as elements. No HTML in it is trusted: all text becomes text nodes.
function renderCard(text) {
  const page = document.createDocumentFragment();
  const lines = text.replace(/^---\r?\n[\s\S]*?\r?\n---\r?\n/, "").split(/\r?\n/);
  const make = (tag, content, parent = page) => {
    const element = document.createElement(tag);
    if (content !== undefined) inline(element, content);
    parent.append(element);
    return element;
  };

  // `code`, **bold** and [text](address), of which only the text is shown.
  function inline(element, content) {
    const pattern = /`([^`]+)`|\*\*([^*]+)\*\*|!?\[([^\]]*)\]\([^)]*\)/g;
    let last = 0;
    for (const match of content.matchAll(pattern)) {
      element.append(content.slice(last, match.index));
      const tag = match[1] !== undefined ? "code" : match[2] !== undefined ? "b" : "span";
      const part = document.createElement(tag);
      part.textContent = match[1] ?? match[2] ?? match[3];
      element.append(part);
      last = match.index + match[0].length;
    }
    element.append(content.slice(last));
  }

  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const isRule = (line) => /^[\s|:-]+$/.test(line ?? "") && line.includes("-");

  function table(start) {
    const box = make("div");
    box.className = "scroll";
    box.tabIndex = 0;
    const grid = make("table", undefined, box);
    const titles = cells(lines[start]);
    if (titles.some(Boolean)) {
      const row = make("tr", undefined, make("thead", undefined, grid));
      for (const title of titles) make("th", title, row).scope = "col";
    }
    const body = make("tbody", undefined, grid);
    let at = start + 2;
    for (; at < lines.length && lines[at].trim().startsWith("|"); at += 1) {
      const row = make("tr", undefined, body);
      for (const cell of cells(lines[at])) make("td", cell, row);
    }
    return at;
  }

  function list(start, marker, tag) {
    const items = make(tag);
    let at = start;
    for (; at < lines.length && marker.test(lines[at]); at += 1) {
      let content = lines[at].replace(marker, "");
      while (/^\s{2,}\S/.test(lines[at + 1] ?? "") && !marker.test(lines[at + 1])) content += ` ${lines[at += 1].trim()}`;
      make("li", content, items);
    }
    return at;
  }

  const starred = /^\s*[-*+]\s+/, numbered = /^\s*\d+[.)]\s+/;
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (!line.trim()) {
      at += 1;
    } else if (line.startsWith("```")) {
      let end = at + 1;
      while (end < lines.length && !lines[end].startsWith("```")) end += 1;
      const block = make("pre");
      block.tabIndex = 0;
      block.textContent = lines.slice(at + 1, end).join("\n");
      at = end + 1;
    } else if (heading) {
      make(heading[1].length < 3 ? "h3" : "h4", heading[2]);
      at += 1;
    } else if (line.trim().startsWith("|") && isRule(lines[at + 1])) {
      at = table(at);
    } else if (starred.test(line)) {
      at = list(at, starred, "ul");
    } else if (numbered.test(line)) {
      at = list(at, numbered, "ol");
    } else {
      let end = at + 1;
      while (end < lines.length && lines[end].trim() && !/^(#|```|\s*[-*+]\s|\s*\|)/.test(lines[end])) end += 1;
      make("p", lines.slice(at, end).join(" "));
      at = end;
    }
  }
  return page;
}
