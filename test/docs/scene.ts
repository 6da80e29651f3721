import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ModelServer } from '../../fixtures/model-server/model-server.ts';
import { freePort } from '../support/free-port.ts';
import { type RunningProcess, runProcess, startProcess } from '../support/process.ts';
import { startRecording } from '../support/recording.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { commandsOf, type DocBlock } from './doc-blocks.ts';

const START_MS = 20_000;
/** As many answers as a forecast takes; every percentile that a page asks for takes fewer. */
const REQUESTS = 500;
const GAP_MS = 5;

/** Commands that go on until they are stopped. */
const GOES_ON =
  /^(?:npx )?reprise (?:record|gate|mock)\b|^reprise faults --listen|--serve 127|^npm run model-server|uvicorn /;
/** What is done while a recorder runs; before anything else it is stopped, as the pages say. */
const WHILE_RECORDING =
  /^(?:npx )?reprise (?:record|status|drain|pause|resume|doctor)\b|^curl |python traffic\.py/;
/** Commands whose exit status is a verdict. */
const JUDGES = /^(?:replay|run|capacity|merge|compare|faults|statement)$/;
/** The exit status of each verdict. */
const STATUS_OF: Readonly<Record<string, number>> = {
  ...{ PASS: 0, SAME: 0, BETTER: 0 },
  ...{ FAIL: 3, WORSE: 3, INCONCLUSIVE: 4 },
};
/** An example that ends for one of these is wrong, however busy this machine is: such as a server that it overloads. */
const OF_THE_EXAMPLE: ReadonlySet<string> = new Set([
  ...['not_comparable', 'in_flight_cap', 'interrupted', 'coverage_unexplained', 'streams_unread'],
  ...['not_sealed', 'rows_differ'],
]);
/** Pages run side by side with their servers: where requests leave late, the server is slow too, and may FAIL. */
const OF_THE_MACHINE: ReadonlySet<string> = new Set([
  'lag_over_bound',
  'arrivals_off_plan',
  'achieved_below',
]);

/** What the pages name and a test cannot wait for, or does not have. */
const SHORTER: readonly (readonly [RegExp, string])[] = [
  [/(?<how>--window (?:\S+,)?(?:peak|worst)=)\d+m/g, '$<how>1s'],
  [/--repeat 5/g, '--repeat 1'],
  // A search takes minutes; the one of the first load test is made.
  [/(reprise capacity captures\/(?!first).*)--budget \S+/g, '$1--dry-run'],
  // A statement takes as long as the samples of its objectives need.
  [/(reprise statement .*)p\(99\)<800(.*)--budget \S+/g, '$1p(90)<200$2--budget=3m'],
  [/--budget \S+/g, '--budget 90s'],
  [/reprise run (?!.*--dry-run)(.*)/g, "reprise run $1 --set 'stages=500ms@1x,500ms@4x'"],
  [/--warmup \d+m/g, '--warmup 500ms'],
  [/--wait \d+\w/g, '--wait 20s'],
  [/wait=20m/g, 'wait=1s'],
  [/\+1 min/g, '+45 sec'],
  // The directory of a scene is made of links, which npm packs no files of.
  [/npm pack --silent/g, `npm pack --silent "${repositoryRoot}"`],
  [/^npm run model-server(?: --)?/g, 'npm run model-server -- --listen 127.0.0.1:8000'],
  [/--window \S+ --tz \S+/g, `--window ${new Date().toISOString().slice(0, 10)} --tz UTC`],
  [/\/rec\b/g, 'captures/rec'],
  [/--max-connections 1000/g, '--max-connections 100'],
  [/--fleet-size 3/g, '--fleet-size 1'],
];

/** Where pages have the second server. */
const MIRROR_PORT = '8086';

/** What every page finds: a model server, and a capture of its traffic. */
export interface Ground {
  readonly serverPort: number;
  /** Another server of the same model: what a page mirrors to. */
  readonly otherPort: number;
  readonly capture: string;
  /** What `npm run demo -- --out demo-run` leaves. */
  readonly demo: string;
  readonly close: () => Promise<void>;
}

export async function makeGround(): Promise<Ground> {
  const server = new ModelServer({ executors: 8, baseMs: 2, tokenMs: 0.05 });
  const other = new ModelServer({ executors: 8, baseMs: 2, tokenMs: 0.05 });
  const [serverPort = 0, otherPort = 0] = [await server.listen(), await other.listen()].map((url) =>
    Number(new URL(url).port),
  );
  const demo = join(temporaryDirectory(), 'demo-run');
  const demonstrated = runProcess('node', [join(repositoryRoot, 'fixtures/demo/main.ts'), '--out', demo]);
  const capture = join(temporaryDirectory(), 'capture');
  const recording = await startRecording(serverPort, capture, ['--bodies', 'all']);
  await sendTraffic(recording.port);
  await recording.stop();
  const ended = await demonstrated;
  if (ended.status !== 0) throw new Error(`the demo ended with ${ended.status}\n${ended.stderr}`);
  const close = async () => {
    await Promise.all([server.close(), other.close()]);
  };
  return { serverPort, otherPort, capture, demo, close };
}

/** Chat, streams and tensors, from several clients. */
export async function sendTraffic(port: number): Promise<void> {
  const answers: Promise<unknown>[] = [];
  for (let index = 0; index < REQUESTS; index += 1) {
    const chat = { model: 'demo', messages: [{ role: 'user', content: `question ${index}` }], max_tokens: 8 };
    const [path, body] =
      index % 3 === 0
        ? [
            '/v2/models/sum/infer',
            { inputs: [{ name: 'x', shape: [1, 2], datatype: 'FP32', data: [index, 1] }] },
          ]
        : ['/v1/chat/completions', { ...chat, stream: index % 3 === 1, user: `user-${index % 7}` }];
    const headers = { 'content-type': 'application/json', 'x-session-id': `session-${index % 9}` };
    const request = { method: 'POST', headers, body: JSON.stringify(body) };
    answers.push(fetch(`http://127.0.0.1:${port}${path}`, request).then((answer) => answer.arrayBuffer()));
    await sleep(GAP_MS);
  }
  await Promise.all(answers);
}

/** A directory in which the commands of one page are run, one after the other, as a reader runs them. */
export class Scene {
  readonly #page: string;
  readonly #directory = temporaryDirectory();
  readonly #ports: ReadonlyMap<string, number>;
  readonly #serverPort: number;
  readonly #running: RunningProcess[] = [];
  /** Captures that are there before the page records. */
  readonly #placedCaptures = new Set(['captures/today', 'captures/monday', 'captures/november']);
  #passed = false;
  #recorders: { readonly child: RunningProcess; readonly port: number }[] = [];

  private constructor(page: string, ground: Ground, ports: ReadonlyMap<string, number>) {
    this.#page = page;
    this.#ports = ports;
    this.#serverPort = ground.serverPort;
    for (const entry of readdirSync(repositoryRoot)) {
      if (/^(?:captures|runs|artefacts|demo-run|\.git)$/.test(entry)) continue;
      symlinkSync(join(repositoryRoot, entry), join(this.#directory, entry));
    }
    for (const place of this.#placedCaptures) {
      cpSync(ground.capture, this.path(place), { recursive: true });
    }
    cpSync(ground.demo, this.path('demo-run'), { recursive: true });
    this.#putCommand(
      'reprise',
      `exec "${process.execPath}" "${join(repositoryRoot, 'bin', 'reprise.js')}" "$@"`,
    );
    this.#putCommand('npx', '[ "$1" = reprise ] && shift && exec reprise "$@"');
  }

  /** Each page has ports of its own, so that pages are run side by side; what none of its commands serves is the model server's. */
  static async of(page: string, blocks: readonly DocBlock[], ground: Ground): Promise<Scene> {
    const text = blocks.map((block) => block.text).join('\n');
    const served = blocks
      .filter(({ notRun }) => notRun === null)
      .flatMap(commandsOf)
      .filter((command) => GOES_ON.test(command) || command.includes('doctor --dir'))
      .flatMap((command) => (command.startsWith('npm run model-server') ? ['8000'] : portsIn(command)));
    const ports = new Map<string, number>();
    for (const [, port = ''] of text.matchAll(/:(\d{4,5})\b|--port (\d+)/g)) {
      const known = port === MIRROR_PORT ? ground.otherPort : ground.serverPort;
      ports.set(port, served.includes(port) ? await freePort() : known);
    }
    return new Scene(page, ground, ports);
  }

  path(...parts: string[]): string {
    return join(this.#directory, ...parts);
  }

  /** Keeps the exit status of every `reprise` beside what it was asked. */
  #putCommand(name: string, body: string): void {
    mkdirSync(this.path('.bin'), { recursive: true });
    const log = `status=$?; printf '%s\\t%s\\n' "$status" "$*" >>"${this.path('.log')}"; exit $status`;
    const script = name === 'reprise' ? `${body.replace('exec ', '')}; ${log}` : body;
    writeFileSync(this.path('.bin', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  write(file: string, text: string): void {
    mkdirSync(dirname(this.path(file)), { recursive: true });
    writeFileSync(this.path(file), this.#placed(text));
  }

  /** Runs a block, as one script where nothing in it goes on. @throws Error naming what failed, with what it said */
  async run(block: DocBlock): Promise<void> {
    const commands = commandsOf(block).filter((command) => !/^npm (?:ci|test|run demo)/.test(command));
    if (!commands.every((command) => WHILE_RECORDING.test(command))) await this.#stopRecorders();
    const script: string[] = [];
    for (const command of commands) {
      if (!GOES_ON.test(command)) {
        script.push(this.#placed(shortened(command)));
        continue;
      }
      await this.#finish(block, script.splice(0));
      await this.#start(block, this.#placed(shortened(command)).replace(/ &$/, ''));
    }
    await this.#finish(block, script);
  }

  async #finish(block: DocBlock, script: readonly string[]): Promise<void> {
    if (script.length === 0) return;
    const command = script.join('\n');
    rmSync(this.path('.log'), { force: true });
    const before = new Set(this.#summaries());
    const { status, stdout, stderr } = await runProcess('bash', ['-c', command], this.#options());
    const said = `${block.at}\n$ ${command}\n${stdout.slice(-1500)}\n${stderr.slice(-1500)}`;
    const asked = this.#statuses();
    // On a busy machine no run may have passed before this block; a baseline is always an earlier run.
    const hasNoBaseline = !this.#passed && stderr.includes('there is no baseline');
    this.#passed ||= asked.some((one) => one.name === 'replay' && one.status === 0);
    const codes = this.#summaries()
      .filter((file) => !before.has(file))
      .flatMap(codesOf);
    const last = asked.findLastIndex(({ name }) => JUDGES.test(name));
    const bad = asked.filter(({ name, status: ended }, at) => {
      if (hasNoBaseline && name === 'compare' && ended === 2) return false;
      if (ended === STATUS_OF[(at === last && block.verdict) || 'PASS']) return false;
      if (!JUDGES.test(name)) return true;
      if (ended === STATUS_OF['INCONCLUSIVE']) return codes.some((code) => OF_THE_EXAMPLE.has(code));
      const isVerdict = ended === STATUS_OF['PASS'] || ended === STATUS_OF['FAIL'];
      return !(isVerdict && codes.some((code) => OF_THE_MACHINE.has(code)));
    });
    if (bad.length > 0) {
      // The first line is all that the totals of CI show of it.
      const names = bad.map((one) => `reprise ${one.name} ended with ${one.status}`).join(', ');
      const why = codes.length === 0 ? '' : ` (${[...new Set(codes)].join(', ')})`;
      const shown = block.verdict === null ? '' : `, the page shows ${block.verdict}`;
      throw new Error(`${names}${why}${shown}: ${stderr.trimEnd().split('\n').at(-1)}\n${said}`);
    }
    if (asked.length === 0 && status !== 0) throw new Error(`ended with ${status}\n${said}`);
    // A drained recorder is over by itself.
    if (!asked.some(({ name }) => name === 'drain')) return;
    await Promise.all(this.#recorders.map(({ child }) => child.finished));
    this.#recorders = [];
  }

  /** The summaries of the runs in this directory. */
  #summaries(): string[] {
    const runs = this.path('runs');
    if (!existsSync(runs)) return [];
    const files = readdirSync(runs, { recursive: true, encoding: 'utf8' });
    // A search has its own verdict; its steps are runs at loads that must fail.
    return files
      .filter((file) => basename(file) === 'summary.json' && !file.includes('/steps/'))
      .map((file) => join(runs, file));
  }

  #statuses(): { name: string; status: number }[] {
    try {
      const lines = readFileSync(this.path('.log'), 'utf8').trimEnd().split('\n');
      return lines.map((line) => {
        const [status = '', args = ''] = line.split('\t');
        return { name: args.split(' ')[0] ?? '', status: Number(status) };
      });
    } catch {
      return [];
    }
  }

  async #start(block: DocBlock, command: string): Promise<void> {
    // No launcher stands between the signal that ends it and the command.
    const direct = command.replace(/^(?:npx )?reprise/, `"${process.execPath}" bin/reprise.js`);
    this.#makeRoom(command);
    const child = startProcess(
      'bash',
      ['-c', `exec ${direct.replace('npm run model-server --', 'node fixtures/model-server/main.ts')}`],
      this.#options(),
    );
    this.#running.push(child);
    const ports = portsIn(command).map(Number);
    for (const port of ports) {
      if (await listens(port, child)) continue;
      throw new Error(
        `${block.at}\n$ ${command}\nnothing listens on ${port}\n${child.stdout}\n${child.stderr}`,
      );
    }
    if (!/reprise record/.test(command)) return;
    this.#recorders.push({ child, port: ports[0] ?? 0 });
    await this.#canBeControlled(command);
  }

  /** A reader of a page that records has no capture there yet. */
  #makeRoom(command: string): void {
    const [, directory = ''] = /reprise record .*--dir (\S+)/s.exec(command) ?? [];
    if (!this.#placedCaptures.delete(directory)) return;
    rmSync(this.path(directory), { recursive: true });
  }

  /** Traffic passes before the recorder answers: `status` is asked of one that can. */
  async #canBeControlled(command: string): Promise<void> {
    const [, directory = ''] = /--dir (\S+)/.exec(command) ?? [];
    const sockets = ['control.sock', 'reprise/control.sock'].map((file) => this.path(directory, file));
    for (const until = Date.now() + START_MS; Date.now() < until; await sleep(50)) {
      if (sockets.some(existsSync)) return;
    }
  }

  /** Traffic of production, and then the end of the recording that the page tells of. */
  async #stopRecorders(): Promise<void> {
    const recorders = this.#recorders;
    this.#recorders = [];
    for (const { child, port } of recorders) {
      if (child.child.exitCode !== null) continue;
      if (!this.#page.includes('first-load-test')) await sendTraffic(port);
      await child.kill('SIGTERM');
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#running.map((child) => child.kill('SIGTERM')));
  }

  #options() {
    const bin = `${this.path('.bin')}:${join(repositoryRoot, 'node_modules', '.bin')}`;
    return {
      cwd: this.#directory,
      env: {
        PATH: `${bin}:${process.env['PATH']}`,
        // Recorders of several pages run at once, and no load balancer waits for them to end.
        REPRISE_PROBE_LISTEN: 'off',
        npm_config_prefix: this.path('.global'),
        REPRISE_DRAIN_DELAY: '0s',
        REPRISE_DRAIN_DEADLINE: '3s',
        CAPTURE: 'captures/today',
        KNOWN: `http://127.0.0.1:${this.#serverPort}`,
        CANDIDATE: `http://localhost:${this.#serverPort}`,
        SUMMARY: 'summary.md',
      },
    };
  }

  /** The same with addresses of this machine, and with the ports of this page. */
  #placed(text: string): string {
    return text
      .replaceAll(
        /\b(?:127\.0\.0\.1|localhost|(?:[\w-]+\.)*staging[\w.-]*):(\d{4,5})\b/g,
        (whole, port: string) => {
          // Two builds that are compared must have two names.
          const host = whole.startsWith('staging-new') ? 'localhost' : '127.0.0.1';
          return this.#ports.has(port) ? `${host}:${this.#ports.get(port)}` : whole;
        },
      )
      .replaceAll(/(--listen |port)(:\d{4,5})\b/g, (whole, before: string, port: string) => {
        const own = this.#ports.get(port.slice(1));
        if (own === undefined) return whole;
        return before === 'port' ? `port:${own}` : `${before}127.0.0.1:${own}`;
      })
      .replaceAll(/--port (\d+)/g, (_, port: string) => `--port ${this.#ports.get(port) ?? port}`)
      .replaceAll('range(900)', 'range(150)');
  }
}

/** The codes of the reasons and notes of a run. */
function codesOf(summary: string): string[] {
  type Coded = readonly { readonly code: string }[];
  // A scenario has a summary too, which names its runs.
  const run = JSON.parse(readFileSync(summary, 'utf8')) as {
    readonly reasons?: Coded;
    readonly notes?: Coded;
  };
  return [...(run.reasons ?? []), ...(run.notes ?? [])].map(({ code }) => code);
}

function shortened(command: string): string {
  return SHORTER.reduce((text, [long, short]) => text.replaceAll(long, short), command);
}

function portsIn(command: string): string[] {
  const addresses = command.matchAll(/(?:--listen|--serve|--port)[ =](?:\w+=)?(?:[\d.]*:)?(\d+)/g);
  return [...addresses].map(([, port = '']) => port);
}

async function listens(port: number, { child }: RunningProcess): Promise<boolean> {
  for (const until = Date.now() + START_MS; Date.now() < until; await sleep(50)) {
    if (child.exitCode !== null) return false;
    const there = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
    if (there) return true;
  }
  return false;
}
