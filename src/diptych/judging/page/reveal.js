// The end: who won, by how much, where they differ, and what each took.

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const percent = (share) => (share === null ? "none" : `${Math.round(share * 100)} %`);
const plural = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
const unknown = () => element("i", { class: "unknown" }, "unknown");

function seconds(value) {
  return value === null ? unknown() : `${Number(value.toPrecision(2)).toLocaleString("en")} s`;
}

function dollars(value) {
  if (value === null) return unknown();
  if (value >= 1 || value === 0) return `$${value.toFixed(2)}`;
  const text = Number(value.toPrecision(value >= 0.001 ? 3 : 2)).toFixed(6).replace(/0+$/, "");
  return `$${text.length < 4 ? `${text}0` : text}`;
}

const swatch = (index) => element("i", { class: `swatch c${index % 8}`, "aria-hidden": "true" });
const named = (label, index) => [swatch(index), element("bdi", {}, label)];

function bar(tally) {
  const all = tally.won + tally.tied + tally.lost;
  const part = (kind, number) => {
    const piece = element("i", { class: kind });
    piece.style.flexGrow = number;
    return number ? piece : null;
  };
  return element("span", { class: "share", "aria-hidden": "true" },
    ...(all ? [part("won", tally.won), part("tied", tally.tied), part("lost", tally.lost)] : []));
}

function models(facts) {
  const head = ["Model", "Won", "Tied", "Lost", "Score", "Seconds a picture", "$ a picture"];
  const rows = facts.models.map((one, index) => [index, one]).sort(([, a], [, b]) => (b.score ?? -1) - (a.score ?? -1));
  return element("table", { class: "main" },
    element("thead", {}, element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, ...rows.map(([index, one]) => element("tr", {},
      element("th", { scope: "row" }, ...named(one.label, index)),
      ...[one.won, one.tied, one.lost, percent(one.score)].map((text, at) => element("td", { "data-label": head[at + 1] }, String(text))),
      element("td", { "data-label": head[5] }, seconds(one.seconds)),
      element("td", { "data-label": head[6] }, dollars(one.cost))))));
}

// Two models pull on a point: it lies on the side of the one with more votes. The band is 45 to 55, as good as even.
function matches(facts) {
  const label = (name) => named(name, facts.models.findIndex((one) => one.label === name));
  const compared = facts.pairs.filter((one) => one.compared);
  if (!compared.length) return null;
  const rows = compared.map((one) => {
    const at = (share) => `${(1 - share) * 100}%`;
    const range = element("i", { class: "range" }), mean = element("i", { class: "mean" });
    Object.assign(range.style, { left: at(one.high), right: `${one.low * 100}%` });
    mean.style.left = at(one.score);
    const said = `${one.first} has ${percent(one.score)} of the score, ${one.second} ${percent(1 - one.score)}. For ${one.first} it is between ${percent(one.low)} and ${percent(one.high)}.`;
    return element("div", { class: "match" },
      element("p", {}, ...label(one.first), " ", element("b", {}, percent(one.score))),
      element("div", { class: "track", role: "img", "aria-label": said },
        ...["even", "axis", "half"].map((name) => element("i", { class: name })), range, mean),
      element("p", {}, element("b", {}, percent(1 - one.score)), " ", ...label(one.second)));
  });
  const words = compared.length === 1 ? element("p", { class: "words" }, compared[0].reason) : null;
  return element("div", { class: "matches" }, ...rows, words);
}

const CHOSEN = { left: [true, false], right: [false, true], tie: [null, null], both_bad: [false, false] };
const REMARK = { tie: "You called it a tie.", both_bad: "You found both bad." };

function review(facts) {
  if (!facts.review.length) return null;
  return element("section", {},
    element("h2", {}, "What you judged"),
    element("p", { class: "note" }, facts.review.length < facts.mine ? "Your latest pairs, the last one first." : "The last one first."),
    element("div", { class: "review" }, ...facts.review.map((one) => element("figure", {},
      element("div", { class: "twin" }, ...one.pictures.map((id, side) => {
        const chosen = CHOSEN[one.choice][side], { label } = facts.models[one.models[side]];
        return element("div", {},
          element("img", { src: `/p/${id}`, alt: `${side ? "Right" : "Left"}, by ${label}` }),
          element("p", { class: chosen ? "chosen" : chosen === false ? "lost" : "" }, ...named(label, one.models[side])));
      })),
      element("figcaption", {}, element("q", { dir: "auto" }, one.prompt), REMARK[one.choice] ?? "")))));
}

function categories(facts) {
  if (!facts.categories.length) return null;
  return element("section", {},
    element("h2", {}, "Where they differ"),
    element("p", { class: "note" }, "Scores by category, a tie counting half. They say where to look, not what is so."),
    element("table", { class: "categories" },
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Category"),
        ...facts.models.map((one, index) => element("th", { scope: "col" }, ...named(one.label, index))))),
      element("tbody", {}, ...facts.categories.map((category) => element("tr", {},
        element("th", { scope: "row" }, element("bdi", {}, category.name)),
        ...category.models.map((tally, index) => element("td", { "data-label": facts.models[index].label },
          element("span", { class: "value" }, bar(tally), ` ${percent(tally.score)} `, element("small", {}, `of ${tally.won + tally.tied + tally.lost}`)))))))));
}

function marks(facts) {
  if (!facts.marked.length) return null;
  const which = facts.marked.join(", ");
  return element("p", { class: "words" }, `The pictures of ${which} carry what looks like a mark of their maker. Who knows it was not blind to it.`);
}

function again(facts) {
  if (!facts.left) return null;
  return element("p", { class: "again" },
    element("button", { type: "button", id: "again", "aria-describedby": "again-said" }, "Go on judging"),
    element("span", { id: "again-said", role: "status" }, "The pairs stay blind, but you have seen who leads."));
}

export function reveal(place, facts) {
  const title = element("h1", { tabindex: "-1" }, facts.headline);
  if (facts.headline.length > 48) title.className = "long";
  place.replaceChildren(
    element("header", { class: "masthead" },
      element("p", { class: "mark" }, element("span", { class: "panels", "aria-hidden": "true" }, element("i"), element("i")), "diptych"),
      element("p", { class: "about" }, "The blind test"),
      element("p", { class: "when" }, "Your sitting has ended")),
    element("main", {},
      element("section", { class: "answer" },
        element("p", { class: "kicker" }, `${plural(facts.votes, "vote")} by ${plural(facts.judges, "judge")}`),
        title,
        element("p", { class: "scope" }, facts.scope),
        matches(facts),
        again(facts)),
      element("section", {}, element("h2", {}, "Side by side"), models(facts), marks(facts)),
      categories(facts),
      review(facts)),
    element("footer", {}, element("p", {}, "The program that showed you these says in its terminal what comes next.")));
}
