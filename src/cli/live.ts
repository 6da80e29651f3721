import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { PageAssets } from '../analysis/render/html.ts';
import type { RunPage } from '../app/live/pages.ts';
import type { LiveServer } from '../app/live/server.ts';
import type { Problems } from '../core/errors.ts';
import {
  type Asked,
  grouped,
  isOnCommandLine,
  part,
  partSwitch,
  partsOf,
  type ResolvedOptions,
  value,
} from '../core/options.ts';
import { linesOf } from '../core/text.ts';
import type { Objective } from '../documents/metrics/objectives.ts';
import { parseServed } from '../proxy/net/endpoint.ts';
import { Interruption } from './signals.ts';
import { terminal } from './terminal.ts';

export const LIVE_OPTIONS = grouped('Output', {
  serve: value(
    '--serve <address|open>',
    'serve a live page on this address, such as 127.0.0.1:9465; it ends as the report; open: open it in the browser (without an address: on a free port of 127.0.0.1)',
    partsOf({ address: part(parseServed), open: partSwitch() }, 'address'),
  ),
});

/** Adds a problem for each flag that asks for a live page although nothing is sent, because of the flag `why`. */
export function refuseLive(asked: Asked<typeof LIVE_OPTIONS>, why: string, problems: Problems): void {
  if (isOnCommandLine(asked, 'serve'))
    problems.add(`--serve has no effect with ${why}: nothing is sent, so there is no live page`);
}

/** Whether a live page was requested. */
export function hasLivePage({ serve }: ResolvedOptions<typeof LIVE_OPTIONS>): boolean {
  return serve !== null;
}

/** A live page of a run. It is served during the run and, on a terminal, after it until Ctrl-C. */
export class ServedRun {
  readonly page: RunPage;
  readonly #server: LiveServer;
  readonly #url: string;

  private constructor(page: RunPage, server: LiveServer, url: string) {
    this.page = page;
    this.#server = server;
    this.#url = url;
  }

  /**
   * @returns null if no page was requested
   * @throws AppError LISTEN_FAILED
   */
  static async start(
    { serve }: ResolvedOptions<typeof LIVE_OPTIONS>,
    title: string,
    objectives: readonly Objective[],
  ): Promise<ServedRun | null> {
    if (serve === null) return null;
    const [{ RunPage }, { LiveServer }] = await Promise.all([
      import('../app/live/pages.ts'),
      import('../app/live/server.ts'),
    ]);
    const page = new RunPage(title, objectives);
    const server = new LiveServer(page.pages);
    const { url, warning } = await server.listen(serve.address ?? parseServed('127.0.0.1:0', '--serve'));
    const until = stays() ? 'Ctrl-C after the run' : 'the end of the run (no terminal)';
    terminal.note(...linesOf(`The live page is at ${url} until ${until}`, warning));
    if (serve.open) openBrowser(url);
    return new ServedRun(page, server, url);
  }

  /**
   * Serves the report of the run until Ctrl-C. Without a terminal, or if the variable CI is set, it returns at once, so
   * that a pipeline does not wait.
   * @param make makes the page; called only if the page is shown
   */
  async stay(make: () => Promise<(assets: PageAssets) => string>): Promise<void> {
    if (!stays()) return;
    const interruption = new Interruption();
    try {
      this.page.end('the report is being made');
      this.page.replace(await make());
      terminal.note(`The report is at ${this.#url}; Ctrl-C ends it`);
      if (!interruption.signal.aborted) await once(interruption.signal, 'abort');
    } finally {
      interruption.end();
    }
  }

  close(): void {
    this.#server.close();
  }
}

function stays(): boolean {
  return terminal.interactive && !process.env['CI'];
}

const OPENERS: Readonly<Partial<Record<NodeJS.Platform, readonly [string, ...string[]]>>> = {
  darwin: ['open'],
  win32: ['cmd', '/c', 'start', ''],
};

/** Opens the desktop's default browser. A failure does not stop the run. */
function openBrowser(url: string): void {
  const [opener, ...args] = OPENERS[process.platform] ?? ['xdg-open'];
  const child = spawn(opener, [...args, url], { detached: true, stdio: 'ignore' });
  child.once('error', () => terminal.note(`No browser was opened: there is no ${opener}. Open ${url}`));
  child.unref();
}
