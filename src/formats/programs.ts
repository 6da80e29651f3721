import { readFileSync } from 'node:fs';

/** What an exported k6 script plays; nothing of it was captured. */
interface K6Plan {
  readonly mode: 'exact' | 'rate';
  /** Scheme and authority; null where the user gives it. */
  readonly target: string | null;
  readonly requests: number;
  /** Virtual users: most requests open at once. */
  readonly users: number;
  readonly spanS: number;
  readonly stepS: number;
  /** Requests of each step. */
  readonly counts: readonly number[];
}

/** The k6 script of `programs/replay.js` with its plan. */
export function k6Program(plan: K6Plan): string {
  const settings = JSON.stringify({ ...plan, target: plan.target ?? '' });
  return withLine('replay.js', /^const plan = .*$/m, `const plan = ${settings};`);
}

/** The Locust file of `programs/locustfile.py` with its host; null where the user gives it. */
export function locustProgram(host: string | null): string {
  // A JSON string of ASCII is a Python string.
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
