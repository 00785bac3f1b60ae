// ---- a conversation with a language model: /v1/chat/completions as it streams; of one that continues texts /v1/completions

const SETTINGS = [["temperature", "Temperature", {min: 0, max: 100, step: "any"}],
                  ["top_p", "Top p", {min: 0.01, max: 1, step: "any"}],
                  ["max_tokens", "Most tokens", {min: 1, step: 1}],
                  ["seed", "Seed", {min: 0, max: 2147483647, step: 1}]];
let said = []; // [{role, content}]
let answering = null; // what stops the answer that is being made

function setting([name, label, limits], usual) {
  const field = element("input"), shown = element("label", label);
  Object.assign(field, {type: "number", name, id: `chat-${name}`, autocomplete: "off", ...limits});
  if (usual !== undefined) field.placeholder = usual;
  shown.htmlFor = field.id;
  const made = element("div");
  made.append(shown, field);
  return made;
}

function showChat(chat) { // chat: {texts, max_new_tokens, usual} of the model, or undefined where it is another kind
  if (answering) answering.abort();
  find("form").classList.toggle("alone", chat !== undefined);
  find("answer").hidden = chat !== undefined;
  find("chat").hidden = chat === undefined;
  if (chat === undefined) return;
  find("title").textContent = chat.texts ? "Continue a text" : "Chat";
  find("words").placeholder = chat.texts ? "A text that is continued" : "A message";
  const usual = {...chat.usual, max_tokens: chat.max_new_tokens, seed: "another each time"};
  find("settings").replaceChildren(...SETTINGS.map((one) => setting(one, usual[one[0]])));
  forget();
}

function forget() {
  if (answering) answering.abort();
  said = [];
  find("talk").replaceChildren();
  find("words").value = "";
}

function bubble(role, text) {
  const made = element("div", undefined, `turn ${role}`), words = element("p", text);
  made.append(element("span", role === "user" ? "You" : find("model").value, "soft"), words);
  words.dir = "auto";
  find("talk").append(made);
  made.scrollIntoView({block: "end"});
  return words;
}

async function* events(path, body, signal) { // what a stream of server-sent events tells, one JSON after another
  let response;
  try {
    response = await fetch(path, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body), signal});
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  if (!response.ok) {
    const {error} = await response.json().catch(() => ({}));
    throw new Error(Object(error).message || error || `Status ${response.status}`);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) throw new Error("The answer ended before its end.");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.filter((one) => one.startsWith("data: "))) {
      if (line === "data: [DONE]") return;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

function request(chat, text) {
  const chosen = [...find("settings").querySelectorAll("input")].filter(({value}) => value !== "");
  const body = {model: find("model").value, stream: true, ...Object.fromEntries(chosen.map(({name, value}) => [name, Number(value)]))};
  return chat.texts ? ["/v1/completions", {...body, prompt: text}] : ["/v1/chat/completions", {...body, messages: said}];
}

async function say(event) {
  event.preventDefault();
  const text = find("words").value, chat = chosen.chat;
  if (answering || !text.trim() || !chat || !find("say").reportValidity()) return;
  const mine = answering = new AbortController(), before = said;
  said = [...said, {role: "user", content: text}];
  const asked = bubble("user", text), shown = bubble("assistant", "");
  find("words").value = "";
  find("send").disabled = !(find("stop").disabled = false);
  let made = "", reason = null, failed = null, drawn = 0;
  try {
    for await (const {choices: [part]} of events(...request(chat, text), mine.signal)) {
      made += Object(part.delta).content || part.text || "";
      reason = part.finish_reason || reason;
      if (performance.now() - drawn < 50) continue; // a page that is drawn for every letter has no time for a click
      shown.textContent = made;
      shown.parentElement.scrollIntoView({block: "end"});
      drawn = performance.now();
    }
  } catch (error) {
    failed = mine.signal.aborted ? null : error;
  }
  shown.textContent = made;
  if (answering === mine) answering = null;
  find("send").disabled = !(find("stop").disabled = true);
  if (!shown.isConnected) return; // another conversation, or model, meanwhile
  if (failed && !made) { // nothing was said: it can be asked again
    said = before;
    asked.parentElement.remove();
    shown.parentElement.remove();
    find("words").value = text;
  } else {
    said = made.trim() ? [...said, {role: "assistant", content: made}] : before; // an empty one is no message of a template
    const note = mine.signal.aborted ? "stopped" : reason === "length" ? "cut: as many tokens as there may be"
      : made.trim() ? "" : "an empty answer";
    if (note) shown.parentElement.append(element("span", note, "soft"));
  }
  if (failed) {
    const told = element("p", failed.message, "error");
    told.setAttribute("role", "alert");
    find("talk").append(told);
  }
  find("words").focus();
}

find("say").addEventListener("submit", say);
find("say").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.target !== find("words")) return;
  event.preventDefault();
  find("say").requestSubmit();
});
find("stop").addEventListener("click", () => answering && answering.abort());
find("anew").addEventListener("click", forget);
