import { AppError } from './errors.ts';
import { pathOf, type Route } from './routes.ts';

/** What is left out where nobody said otherwise: a probe every few seconds says nothing of the traffic. */
export const DEFAULT_SKIP_RULES: readonly string[] = Object.freeze(['health']);

const MAX_RULES = 64;
const RULE_CHARS = 1_024;

/** Routes of the probes and scrapes of the known servers and of Kubernetes. */
const HEALTH_ROUTES: ReadonlySet<string> = new Set([
  '/livez',
  '/readyz',
  '/healthz',
  '/health',
  '/health/live',
  '/health/ready',
  '/ping',
  '/metrics',
  '/v2/health/live',
  '/v2/health/ready',
  '/v2/models/{model}/ready',
  '/v2/models/{model}/versions/{version}/ready',
]);

/** What a rule is held against. */
interface SkipSubject {
  readonly method: string;
  /** Path of the request as sent, without its query. */
  readonly path: string;
  /** Method and path with the variable parts named. */
  readonly route: string;
}

type SkipTest = (subject: SkipSubject) => boolean;

/** Requests that are left out of a capture, and counted (`skip_rule`). A replay does not send them. */
export class SkipRules {
  readonly #tests: readonly SkipTest[];
  readonly #known = new WeakMap<Route, boolean>();
  /** The rules as they were written; empty where nothing is skipped. */
  readonly rules: readonly string[];

  /**
   * @param rules each `health`, `path:/exact`, `path:/prefix*`, `route:METHOD /path/{model}` (a final `*` as for
   *   paths) or `method:NAME`; `none` alone for no rule
   * @throws AppError OPTION_INVALID saying which rule is wrong, and how
   */
  constructor(rules: readonly string[]) {
    if (rules.length > MAX_RULES) {
      throw new AppError('OPTION_INVALID', `${rules.length} skip rules are more than ${MAX_RULES}`, {
        hint: 'a path that ends in * stands for all that begin with it',
      });
    }
    if (rules.length > 1 && rules.includes('none')) {
      throw new AppError('OPTION_INVALID', 'skip rule "none" stands beside others', {
        hint: 'give --skip none alone, to record everything',
      });
    }
    this.rules = rules.filter((rule) => rule !== 'none');
    this.#tests = this.rules.map(parseSkipRule);
  }

  /** @param route of the method and target; it belongs to one path, so that the answer is kept with it. */
  skips(method: string, target: string, route: Route): boolean {
    if (this.#tests.length === 0) return false;
    let skipped = this.#known.get(route);
    if (skipped === undefined) {
      const subject = { method, path: pathOf(method, target), route: route.route };
      skipped = this.#tests.some((test) => test(subject));
      this.#known.set(route, skipped);
    }
    return skipped;
  }
}

function parseSkipRule(rule: string): SkipTest {
  if (rule === 'health') return isHealthCheck;
  const colon = rule.indexOf(':');
  const kind = rule.slice(0, Math.max(colon, 0));
  const text = rule.slice(colon + 1).trim();
  if (text === '' || text === '*' || rule.length > RULE_CHARS) throw invalid(rule);
  if (kind === 'method' && /^[A-Za-z]+(?:-[A-Za-z]+)*$/.test(text)) {
    const method = text.toUpperCase();
    return (subject) => subject.method === method;
  }
  if (kind === 'path' && text.startsWith('/')) return matching(text, ({ path }) => path);
  if (kind === 'route' && /^[A-Z]+(?:-[A-Z]+)* \//.test(text)) return matching(text, ({ route }) => route);
  throw invalid(rule);
}

function matching(text: string, part: (subject: SkipSubject) => string): SkipTest {
  if (!text.endsWith('*')) return (subject) => part(subject) === text;
  const prefix = text.slice(0, -1);
  return (subject) => part(subject).startsWith(prefix);
}

function isHealthCheck({ method, route }: SkipSubject): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false;
  return HEALTH_ROUTES.has(route.slice(method.length + 1));
}

function invalid(rule: string): AppError {
  return new AppError('OPTION_INVALID', `${JSON.stringify(rule)} is no skip rule`, {
    hint: 'write health, path:/prefix*, path:/exact, "route:GET /v2/models/{model}", method:OPTIONS, or none',
  });
}
