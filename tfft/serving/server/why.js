// ---- why: what each word makes of a label's log odds, of a number, or of how sure an entity or an answer is: what is lost of
// it where the word is left out (occlusion). The model is asked as by anyone, a few rows at a time, one request after another.

const PARTS = 128; // that a row's words are left out in; where they are more, neighbours go together
const AT_ONCE = 16; // rows of a request
const LETTERS = 1 << 20; // of a request
const SHARE = 0.1; // of the largest number: what is less has no colour
const NAMED = 5; // words that are named on each side
let explaining = {}; // what is being explained; another object ends it

function numbers(answer, row) { // {names, values, best} of what is answered; null of answers that are not explained
  const {label, label_names, choice, position, scores, selected, value} = typeof answer === "number" ? {value: answer} :
    Object(answer);
  if (typeof value === "number") return {kind: "value", names: ["value"], values: [value], best: 0};
  const found = places(answer);
  if (found) return {kind: "score", found, names: found.map(({name}) => name), values: found.map(({score}) => score), best: 0};
  const names = typeof choice === "string" ? row.choices : label_names;
  if (![names, scores].every(Array.isArray) || !names.length || names.length !== scores.length) return null;
  const values = scores.map((score, at) => {
    const others = selected ? Math.max(1 - score, 2 ** -25) : // 1 as float32 has it is more than 1 - 2 ** -25
      scores.reduce((sum, other, i) => i === at ? sum : sum + Number(other), 0);
    return Math.log(Math.max(score, 1e-37)) - Math.log(Math.max(others, 1e-37));
  });
  const first = typeof choice === "string" ? position : names.indexOf(label); // none where several labels hold, or none
  return {kind: "log odds", names: names.map(String), values, best: first >= 0 ? first : values.indexOf(Math.max(...values))};
}

function places(outputs) { // entities, or the likeliest answers: [{name, score, field, start, end}], the surest first
  const {count, entity, type, answer, score, answers, scores, start, end, starts, ends} = Object(outputs);
  let made = null;
  if (Number.isInteger(count) && [entity, type, score, start, end].every(Array.isArray)) {
    made = Array.from({length: count}, (_, i) => (
      {name: type[i] ? `${entity[i]} (${type[i]})` : entity[i], score: score[i], field: "text", start: start[i], end: end[i]}));
  } else if (typeof answer === "string" && [answers, scores, starts, ends].every(Array.isArray)) {
    made = answers.map((name, i) => ({name, score: scores[i], field: "context", start: starts[i], end: ends[i]}))
      .filter(({name}) => name);
  }
  return made && made.sort((a, b) => b.score - a.score)
    .filter(({name}, i) => i === made.findIndex((other) => other.name === name)); // of two alike the surer one
}

function segments(text) { // words, marks and white space, in order
  if (!Intl.Segmenter) return text.match(/\s+|\S+/gu) || [];
  return Array.from(new Intl.Segmenter("en", {granularity: "word"}).segment(text), ({segment}) => segment);
}

function pieces(row) { // [{name, text, start, end, part}] of a row's texts; part: which a word is left out with, of white
  // space none
  const made = Object.entries(row).filter(([, value]) => typeof value === "string").flatMap(([name, value]) => {
    let end = 0; // code points, which is what offsets count
    return segments(value).map((text) => ({name, text, start: end, end: end += Array.from(text).length}));
  });
  const words = made.filter(({text}) => /\S/u.test(text));
  words.forEach((word, i) => { word.part = Math.floor(i / Math.ceil(words.length / PARTS)); });
  return made;
}

function without(row, all, part) {
  const made = {...row};
  for (const {name} of all) made[name] = "";
  for (const piece of all) if (piece.part !== part) made[piece.name] += piece.text;
  return made;
}

async function lost(model, row, all, tell) { // the numbers of the row, and of it without each part; null where it was ended
  const mine = explaining = {}, parts = new Set(all.map(({part}) => part).filter((part) => part !== undefined));
  const rows = [row, ...[...parts].map((part) => without(row, all, part))];
  const letters = all.reduce((sum, {text}) => sum + text.length, 0);
  const many = Math.max(1, Math.min(AT_ONCE, Math.floor(LETTERS / Math.max(1, letters))));
  const made = [];
  while (made.length < rows.length) {
    tell(`Asking the model: ${made.length} of ${rows.length}`);
    const {predictions} = await fetched(`/v1/models/${encodeURIComponent(model)}:predict`,
                                        {instances: rows.slice(made.length, made.length + many)});
    if (mine !== explaining) return null;
    if (!Array.isArray(predictions) || !predictions.length) throw new Error("The model answered nothing.");
    made.push(...predictions.map((answer) => numbers(answer, row)));
  }
  const [{kind, names}] = made;
  if (made.some((one) => one?.kind !== kind)) throw new Error("The model's answers are of different kinds.");
  if (kind !== "score") return made;
  return [made[0], ...made.slice(1).map(({found}) => ( // of what is not found any more nothing is left
    {values: names.map((name) => found.find((one) => one.name === name)?.score ?? 0)}))];
}

function signed(number) {
  return Number.isFinite(number) ? `${number < 0 ? "\u2212" : "+"}${Math.abs(number).toFixed(2)}` : String(number);
}

function coloured(all, share, by) { // the words of a text; share: of the largest, -1 to 1
  const made = element("p", undefined, "passage");
  made.dir = "auto";
  for (const {text, part} of all) {
    if (part === undefined || !(Math.abs(share[part]) >= SHARE)) {
      made.append(text);
      continue;
    }
    const mark = element("mark", text, share[part] > 0 ? "for" : "against");
    mark.style.setProperty("--share", Math.abs(share[part]).toFixed(2));
    mark.title = signed(by[part]);
    made.append(mark);
  }
  return made;
}

function named(title, all, by, sign) { // For pos: fine +1.20, film +0.10
  const parts = by.map((_, part) => part).filter((part) => sign * by[part] >= 0.005).sort((a, b) => sign * (by[b] - by[a]));
  if (!parts.length) return [];
  const made = element("p", `${title}: `);
  parts.slice(0, NAMED).forEach((part, i) => made.append(
    i ? ", " : "", element("bdi", all.filter((piece) => piece.part === part).map(({text}) => text).join(" ")),
    ` ${signed(by[part])}`));
  if (parts.length > NAMED) made.append(` and ${parts.length - NAMED} more`);
  return [made];
}

function explained(all, [whole, ...left], at) {
  const {kind} = whole, number = kind === "value", what = whole.names[at], itself = whole.found?.[at];
  const by = left.map(({values}) => whole.values[at] - values[at]);
  const own = all.filter(({name, start, end}) => itself && name === itself.field && start < itself.end && end > itself.start);
  for (const {part} of own) if (part !== undefined) by[part] = NaN; // without itself there is nothing to be sure of
  const most = Math.max(...by.map(Math.abs).filter(Number.isFinite), 1e-12), share = by.map((one) => one / most);
  const texts = [...new Set(all.map(({name}) => name))];
  const together = all.filter(({part}) => part !== undefined).length > left.length;
  return [
    ...texts.flatMap((name) => [...(texts.length > 1 ? [element("h3", TITLES.get(name) || name)] : []),
                                coloured(all.filter((piece) => piece.name === name), share, by)]),
    ...named(number ? "Raise it" : `For ${what}`, all, by, 1), ...named(number ? "Lower it" : `Against ${what}`, all, by, -1),
    element("p", `Numbers: what the ${kind} (${whole.values[at].toFixed(2)}) ${kind === "log odds" ? "lose" : "loses"} where ${
      together ? "these words are" : "the word is"} left out.${itself ? " Its own words are not." : ""}`, "soft")];
}

function why(answer, row) { // a button, and what it brings
  if (!numbers(answer, row)?.names.length || !Object.values(row).some((text) => typeof text === "string" && /\S/u.test(text))) return [];
  const model = find("model").value;
  const button = element("button", "Why?"), made = element("section"), told = element("p", "", "soft");
  button.type = "button";
  made.id = "why";
  made.tabIndex = -1;
  made.setAttribute("aria-label", "Why");
  told.setAttribute("role", "status");
  button.onclick = async () => {
    button.disabled = true;
    made.replaceChildren(told);
    try {
      const all = pieces(row);
      const found = await lost(model, row, all, (words) => { told.textContent = words; });
      if (!found) return;
      made.replaceChildren(...chooser(all, found));
      button.remove();
      made.focus(); // where the keyboard goes on
    } catch (error) {
      const failed = element("p", error.message, "error");
      failed.setAttribute("role", "alert");
      made.replaceChildren(failed);
      button.disabled = false;
    }
  };
  return [button, made];
}

function chooser(all, found) { // of which label it is said
  const [{names, best}] = found, shown = element("div");
  shown.append(...explained(all, found, best));
  if (names.length < 2) return [shown];
  const label = element("label", "Words for and against "), field = element("select");
  names.forEach((name, at) => field.append(new Option(name, at, at === best, at === best)));
  field.onchange = () => shown.replaceChildren(...explained(all, found, Number(field.value)));
  label.append(field);
  return [label, shown];
}
