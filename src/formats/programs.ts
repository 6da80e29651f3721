import { readFileSync } from 'node:fs';

/** The plan of an exported k6 script; it contains no captured text. */
interface K6Plan {
  readonly mode: 'exact' | 'rate';
  /** Scheme and authority; null if the user sets it. */
  readonly target: string | null;
  readonly requests: number;
  /** Virtual users: the most requests open at once. */
  readonly users: number;
  readonly spanS: number;
  readonly stepS: number;
  /** Requests per step. */
  readonly counts: readonly number[];
}

/** The k6 script `programs/k6-script.js` with its plan. */
export function k6Program(plan: K6Plan): string {
  const settings = JSON.stringify({ ...plan, target: plan.target ?? '' });
  return withLine('k6-script.js', /^const plan = .*$/m, `const plan = ${settings};`);
}

/** The Locust file `programs/locustfile.py` with its host; null if the user sets it. */
export function locustProgram(host: string | null): string {
  // An ASCII JSON string is also a Python string.
  return withLine(
    'locustfile.py',
    /^HOST = None$/m,
    `HOST = ${host === null ? 'None' : JSON.stringify(host)}`,
  );
}

function withLine(file: string, line: RegExp, settings: string): string {
  const program = readFileSync(new URL(`./programs/${file}`, import.meta.url), 'utf8');
  if (!line.test(program)) throw new Error(`programs/${file} has no line ${line}`);
  return program.replace(line, () => settings);
}
