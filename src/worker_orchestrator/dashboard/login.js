// Where the service needs a token, it is asked for once. It goes nowhere but to the service, and is not kept here.

import { signIn } from "./api.js";
import { Brand } from "./brand.js";
import { html, useEffect, useId, useRef, useState } from "./html.js";

export function Login({ onSignedIn }) {
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  const field = useRef(null);
  const id = useId();
  useEffect(() => {
    document.title = "Sign in · Worker Orchestrator";
    field.current.focus();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    if (isBusy) return;
    setBusy(true);
    try {
      await signIn(field.current.value.trim());
      onSignedIn();
    } catch (failure) {
      setProblem(inWords(failure));
      setBusy(false);
      field.current.select();
    }
  };
  return html`<main class="login">
    <form onSubmit=${submit} aria-busy=${isBusy}>
      <${Brand} size=${32} />
      <h1>Worker Orchestrator</h1>
      <label for=${id}>Token</label>
      <input
        id=${id} ref=${field} type="password" name="token" autocomplete="current-password" required
        aria-describedby="${id}-hint" aria-invalid=${problem ? "true" : undefined} onInput=${() => setProblem("")}
      />
      ${problem && html`<p class="refused" role="alert">${problem}</p>`}
      <button class="primary" type="submit" disabled=${isBusy}>${isBusy ? "Signing in…" : "Sign in"}</button>
      <p id="${id}-hint" class="muted">
        The one that the service was started with: <code>--token-file</code>, <code>ORCHESTRATOR_TOKEN</code>${" "}
        or${" "}<code>orchestrator.toml</code>.
      </p>
    </form>
  </main>`;
}

function inWords({ status, message, retryAfter }) {
  if (status === 401) return "That is not the token of this service.";
  if (status === 429) return `Too many wrong tokens. Try again${retryAfter ? ` in ${retryAfter} s` : " in a minute"}.`;
  return message;
}
