import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { getPriority } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseRequestHead } from '../../src/core/headers.ts';
import { resolveCaptureDirectory } from '../../src/storage/capture/directory.ts';
import { DirectoryLock } from '../../src/storage/capture/lock.ts';
import { openCapture } from '../../src/storage/capture/reader.ts';
import { runCommand } from '../support/command-here.ts';
import { freePort } from '../support/free-port.ts';
import { mayHaveNiceness } from '../support/host-abilities.ts';
import { startReprise } from '../support/process.ts';
import { type LogLine, startRecording } from '../support/recording.ts';
import { ScriptedOrigin } from '../support/scripted-origin.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { plainAnswer, rawRequest, streamedAnswer } from '../support/wire-messages.ts';

let origin: ScriptedOrigin;

beforeEach(async () => {
  origin = await new ScriptedOrigin().listen();
});
afterEach(() => origin.close());

async function clientOf(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  return socket;
}

/** Sends a request and waits for that many bytes of answer. */
async function ask(socket: Socket, request: Buffer, answerBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let have = 0;
  const done = new Promise<void>((resolve) => {
    socket.on('data', function take(chunk: Buffer) {
      chunks.push(chunk);
      have += chunk.length;
      if (have < answerBytes) return;
      socket.off('data', take);
      resolve();
    });
  });
  socket.write(request);
  await done;
  return Buffer.concat(chunks);
}

/** Whether a client can connect, and is not reset at once. */
async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  return await new Promise<boolean>((resolve) => {
    socket.once('error', () => resolve(false)).once('close', () => resolve(false));
    socket.once('connect', () => setTimeout(resolve, 5, true));
  }).finally(() => socket.destroy());
}

const BODY = Buffer.from('{"inputs":[1,2,3]}');
const REQUEST = rawRequest(
  'POST',
  '/v2/models/iris/infer?api_key=s3cret',
  ['Authorization: Bearer abc.def', 'Content-Type: application/json', `Content-Length: ${BODY.length}`],
  BODY,
);

describe('reprise record', () => {
  it('opens no debugger and cuts nothing at SIGUSR1 and SIGUSR2, and drains at SIGHUP, log or no log', async () => {
    const answer = plainAnswer('{"outputs":[]}');
    const exchange = { requestBytes: REQUEST.length, answer: [answer] };
    origin.expect([exchange, exchange, exchange]);
    const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`);
    const client = await clientOf(recording.port);
    await ask(client, REQUEST, answer.length);
    for (const pid of [recording.process.child.pid, ...Object.values(recording.children())]) {
      process.kill(pid as number, 'SIGUSR1');
      process.kill(pid as number, 'SIGUSR2');
    }
    // Of a terminal's signals the recorder leaves all to the proxy.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGQUIT'] as const)
      process.kill(recording.children().recorder, signal);
    await sleep(200);
    await ask(client, REQUEST, answer.length);
    expect(recording.process.stderr).not.toMatch(/Debugger listening|ended/);
    recording.process.child.stderr?.destroy();
    for (let time = 0; time < 2; time += 1) {
      recording.process.child.kill('SIGHUP');
      await sleep(200);
    }
    expect((await ask(client, REQUEST, answer.length)).equals(answer)).toBe(true);
    client.end();
    expect(await recording.process.finished).toMatchObject({ status: 0, signal: null });
  });

  it('forwards unchanged and keeps what passed, redacted, in a sealed capture', async () => {
    const answer = plainAnswer('{"outputs":[]}');
    const exchange = { requestBytes: REQUEST.length, answer: [answer] };
    origin.expect([exchange, exchange]);
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(origin.port, directory);
    const client = await clientOf(recording.port);
    for (let turn = 0; turn < 2; turn += 1) {
      expect((await ask(client, REQUEST, answer.length)).equals(answer)).toBe(true);
    }
    client.end();
    const { status, end } = await recording.stop();
    expect(status).toBe(0);
    expect(end).toMatchObject({
      message: 'stopped',
      cut: 0,
      exchanges: 2,
      pending: { bytes: 0, turns: 0 },
      seen: { bytes: 2 * (REQUEST.length + answer.length), turns: 2 },
      recorded: { bytes: 2 * (REQUEST.length + answer.length), turns: 2 },
    });
    expect([end['lost'], end['omitted']]).toEqual([{}, {}]);
    expect(origin.received[0]?.equals(Buffer.concat([REQUEST, REQUEST]))).toBe(true);

    const capture = openCapture(directory);
    const rows = [...capture.rows()];
    expect(rows).toMatchObject([
      { method: 'POST', status: 200, model: 'iris', outcome: 'completed', requestBytes: BODY.length },
      { method: 'POST', status: 200, model: 'iris', outcome: 'completed', requestBytes: BODY.length },
    ]);
    const payload = capture.payload(rows[0] as (typeof rows)[0]);
    const head = parseRequestHead(payload?.request?.head ?? Buffer.alloc(0));
    expect(head.target).toMatch(/^\/v2\/models\/iris\/infer\?api_key=\*{6}$/);
    expect(JSON.stringify(head.headers)).not.toContain('abc.def');
    expect(Buffer.from(payload?.request?.body.kept ?? []).equals(BODY)).toBe(true);
    capture.close();

    const inspected = await runCommand(['inspect', directory, '--json']);
    expect(JSON.parse(inspected.stdout)).toMatchObject({
      exchanges: 2,
      outcomes: { completed: 2 },
      coverage: 1,
      losses: { exchanges: 0 },
      segments: [{ sealed: true, exchanges: 2 }],
    });
  });

  it('holds no event of a stream back and keeps the times of its chunks', async () => {
    const events = ['data: {"n":1}\n\n', 'data: {"n":2}\n\n', 'data: [DONE]\n\n'];
    const answer = streamedAnswer(events);
    const arrivals: string[] = [];
    // The server goes on when the client has what it wrote so far: one event held back, and nothing more comes.
    const arrived = async (bytes: number) => {
      while (Buffer.byteLength(arrivals.join('')) < bytes) await sleep(1);
    };
    origin.expect([{ requestBytes: REQUEST.length, answer, pauseMs: 60, arrived }]);
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(origin.port, directory);
    const client = await clientOf(recording.port);
    client.on('data', (chunk: Buffer) => arrivals.push(chunk.toString()));
    await ask(client, REQUEST, Buffer.concat(answer).length);
    client.end();
    await recording.stop();
    // Every write of the server reached the client by itself, before the next was made.
    expect(arrivals).toEqual(answer.map((part) => part.toString()));

    const capture = openCapture(directory);
    const [row] = [...capture.rows()];
    expect(row?.streamed).toBe(true);
    const times = row ? (capture.payload(row)?.responseChunks ?? []) : [];
    const offsetsUs = times.filter((_, index) => index % 2 === 0);
    expect(offsetsUs.length).toBeGreaterThanOrEqual(3);
    expect([...offsetsUs].sort((a, b) => a - b)).toEqual(offsetsUs);
    expect((offsetsUs.at(-1) ?? 0) - (offsetsUs[0] ?? 0)).toBeGreaterThan(100_000);
    capture.close();
  });

  it('leaves out what a replay marked, and says so', async () => {
    const marked = rawRequest('GET', '/v2/health/ready', ['X-Reprise-Run: r1'], Buffer.alloc(0));
    const answer = plainAnswer('{}');
    origin.expect([{ requestBytes: marked.length, answer: [answer] }]);
    const directory = `${temporaryDirectory()}/capture`;
    const recording = await startRecording(origin.port, directory);
    const client = await clientOf(recording.port);
    await ask(client, marked, answer.length);
    client.end();
    const { end } = await recording.stop();
    expect(end).toMatchObject({ omitted: { replay_marked: { turns: 1 } }, exchanges: 0 });
    const inspected = await runCommand(['inspect', directory, '--json']);
    expect(JSON.parse(inspected.stdout)).toMatchObject({
      exchanges: 0,
      omitted: { byCause: { replay_marked: { exchanges: 1 } } },
    });
  });

  it('starts without its upstream and resets clients until it is there', async () => {
    origin.close();
    const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`);
    const client = connect(recording.port, '127.0.0.1');
    const error = await new Promise<NodeJS.ErrnoException>((resolve) => client.once('error', resolve));
    expect(error.code).toBe('ECONNRESET');
    expect((await recording.stop()).status).toBe(0);
  });

  it.each(['/proc/reprise-cannot-be-here', '/dev/null/x', ''])(
    'ends with an error that names %j when the capture cannot be opened and it may not fail open',
    async (dir) => {
      const args = ['record', '--target', '127.0.0.1:1', '--listen', '127.0.0.1:0', '--probe-listen', 'off'];
      const cwd = temporaryDirectory();
      process.chdir(cwd);
      const { status, stderr } = await runCommand([...args, '--dir', dir]).finally(() =>
        process.chdir(repositoryRoot),
      );
      expect({ status, left: readdirSync(cwd) }).toEqual({ status: 2, left: [] });
      expect(stderr).toContain(`nothing can be recorded: ${dir}`);
      expect(stderr).toMatch(/hint: .*--fail-open/);
      expect(stderr).not.toContain('NOT RECORDING');
    },
  );

  it('answers no client and leaves no account while it cannot open its capture, however often it is started', async () => {
    const directory = resolveCaptureDirectory(`${temporaryDirectory()}/capture`, 'write');
    const held = DirectoryLock.acquire(directory);
    const port = await freePort();
    const args = ['record', '--target', `127.0.0.1:${origin.port}`, '--listen', `127.0.0.1:${port}`];
    const more = ['--dir', directory, '--probe-listen', 'off'];
    for (let start = 0; start < 2; start += 1) {
      const recording = startReprise([...args, ...more]);
      let over = false;
      const finished = recording.finished.finally(() => {
        over = true;
      });
      let accepted = 0;
      while (!over) if (await accepts(port)) accepted += 1;
      expect({ accepted, status: (await finished).status }).toEqual({ accepted: 0, status: 2 });
    }
    expect(readdirSync(directory).filter((file) => file.includes('account'))).toEqual([]);
    held.release();
  });

  it('adds to a capture only if target, policy and key are the same, or if it is told to', async () => {
    const directory = `${temporaryDirectory()}/capture`;
    const answer = plainAnswer('{}');
    origin.expect([{ requestBytes: REQUEST.length, answer: [answer] }]);
    const first = await startRecording(origin.port, directory);
    const client = await clientOf(first.port);
    await ask(client, REQUEST, answer.length);
    client.end();
    await first.stop();
    const files = readdirSync(directory).toSorted();
    const again = async (target: string, flags: readonly string[]) => {
      const where = ['--dir', directory, '--listen', '127.0.0.1:0', '--probe-listen', 'off'];
      const recording = startReprise([
        'record',
        '--target',
        target,
        ...where,
        '--drain-delay',
        '0s',
        ...flags,
      ]);
      const open = recording.waitFor('stderr', /"?forwarding/).catch(() => null);
      if ((await open) !== null) recording.child.kill('SIGTERM');
      const { status, stderr } = await recording.finished;
      return { status, stderr };
    };
    const same = `127.0.0.1:${origin.port}`;
    const key = join(temporaryDirectory(), 'key');
    writeFileSync(key, 'k'.repeat(32));
    const others = [
      await again('127.0.0.1:9', []),
      await again(same, ['--bodies', 'none']),
      await again(same, ['--hash-key-file', key]),
    ];
    expect(others.map(({ status }) => status)).toEqual([2, 2, 2]);
    expect(others[0]?.stderr).toContain(`its target is ${same} and not 127.0.0.1:9`);
    expect(others[1]?.stderr).toContain('its bodies is "requests" and not "none"');
    expect(others[2]?.stderr).toContain('another hash key');
    expect(readdirSync(directory).toSorted()).toEqual(files);
    expect((await again(same, [])).status).toBe(0);
    expect((await again('127.0.0.1:9', ['--append'])).status).toBe(0);
  });

  it('adds to an imported capture only if it is told to', async () => {
    const directory = `${temporaryDirectory()}/capture`;
    const trace = join(temporaryDirectory(), 'arrivals.csv');
    writeFileSync(trace, 'timestamp\n0\n1000\n');
    const made = ['import', 'arrivals', trace, '--time', 'timestamp', '--unit', 'ms', '--out', directory];
    expect((await startReprise(made).finished).status).toBe(0);
    const files = readdirSync(directory);
    const record = ['record', '--target', '127.0.0.1:9', '--listen', '127.0.0.1:0', '--dir', directory];
    const args = [...record, '--probe-listen', 'off', '--drain-delay', '0s'];
    const refused = startReprise(args);
    refused
      .waitFor('stderr', /"?forwarding/)
      .then(() => refused.child.kill('SIGTERM'))
      .catch(() => undefined);
    expect((await refused.finished).status).toBe(2);
    expect(readdirSync(directory).filter((file) => file !== 'recorder.lock')).toEqual(files);
    const added = startReprise([...args, '--append']);
    await added.waitFor('stderr', /"?forwarding/);
    added.child.kill('SIGTERM');
    expect((await added.finished).status).toBe(0);
  });

  it('names what a new capture holds, once, and says when it adds to one that is there', async () => {
    const directory = `${temporaryDirectory()}/capture`;
    const told = async () => {
      const { log } = await (await startRecording(origin.port, directory)).stop();
      const count = (pattern: RegExp) => log.filter(({ message }) => pattern.test(message)).length;
      return [count(/^(?:stored|masked|to mask more): /), count(/^added to the capture/)];
    };
    expect([await told(), await told()]).toEqual([
      [3, 0],
      [0, 1],
    ]);
  });

  it('forwards with recording off, and says so once, when the capture cannot be written', async () => {
    const answer = plainAnswer('{}');
    origin.expect([{ requestBytes: REQUEST.length, answer: [answer] }]);
    const recording = await startRecording(origin.port, '/proc/reprise-cannot-be-here');
    const client = await clientOf(recording.port);
    expect((await ask(client, REQUEST, answer.length)).equals(answer)).toBe(true);
    client.end();
    const { status, log, end } = await recording.stop();
    expect(status).toBe(0);
    expect(log.filter((line) => line['state'] === 'OFF')).toHaveLength(1);
    expect(end).toMatchObject({ lost: { writer_down: { turns: 1 } }, recorded: { turns: 0 } });
  });
});

/** Niceness of each thread of a process: the 19th field of its line, which a name of many words may begin. */
function nicenessOfThreads(pid: number): number[] {
  const stats = readdirSync(`/proc/${pid}/task`).map((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1'),
  );
  return stats.map((stat) => Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16]));
}

/** Starts a command without the right to take a niceness back that was given away. */
const WITHOUT_RIGHT = ['setpriv', '--inh-caps=-sys_nice', '--bounding-set=-sys_nice'];
const mayBeBefore = mayHaveNiceness(-10) && getPriority() === 0;
/** setpriv is part of Debian's util-linux. */
const mayLoseRight =
  mayBeBefore &&
  spawnSync('setpriv', [
    ...WITHOUT_RIGHT.slice(1),
    process.execPath,
    '-e',
    'try { require("node:os").setPriority(-1); process.exitCode = 1; } catch {}',
  ]).status === 0;

describe.runIf(process.platform === 'linux')('the priority of reprise record', () => {
  const refusals = (log: readonly LogLine[]) =>
    log.filter(({ message }) => message.includes('--proxy-niceness'));

  it.runIf(mayBeBefore)(
    'is above that of others for the thread that forwards, and not for the recorder',
    async () => {
      const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`);
      const { proxy, recorder } = recording.children();
      // Its start makes it busy itself for a moment.
      await expect.poll(() => getPriority(proxy), { timeout: 10_000 }).toBe(-10);
      expect(nicenessOfThreads(recorder).filter((niceness) => niceness < 0)).toEqual([]);
      await recording.stop();
    },
  );

  it.runIf(mayLoseRight)(
    'that the user gave stays when a recorder is started again, without a right to it',
    async () => {
      const through = ['nice', '-n', '-5', ...WITHOUT_RIGHT];
      const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`, [], { through });
      const { proxy, recorder } = recording.children();
      process.kill(recorder, 'SIGKILL');
      await expect.poll(() => recording.children().recorder, { timeout: 10_000 }).not.toBe(recorder);
      expect(getPriority(proxy)).toBe(-5);
      expect(nicenessOfThreads(recording.children().recorder).filter((niceness) => niceness < 0)).toEqual([]);
      const { log } = await recording.stop();
      expect(refusals(log)).toEqual([]);
    },
  );

  it.runIf(mayLoseRight)(
    'is a warning if the system refuses what was asked for, and nothing else changes',
    async () => {
      const flags = ['--proxy-niceness', '-5'];
      const options = { through: WITHOUT_RIGHT };
      const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`, flags, options);
      expect(getPriority(recording.children().proxy)).toBe(0);
      const { status, log } = await recording.stop();
      expect(status).toBe(0);
      expect(refusals(log)).toHaveLength(1);
    },
  );

  it('is what --proxy-niceness says, and the recorder is never before the traffic', async () => {
    const flags = ['--proxy-niceness', '7', '--recorder-niceness', '0'];
    const recording = await startRecording(origin.port, `${temporaryDirectory()}/capture`, flags);
    const { proxy, recorder } = recording.children();
    expect(getPriority(proxy)).toBe(7);
    await expect.poll(() => getPriority(recorder), { timeout: 10_000 }).toBe(7);
    await recording.stop();
  });
});

describe('reprise record, asked for what cannot be', () => {
  it.each([
    [['--target', 'nonsense', '--dir', 'x'], '--target: "nonsense" is not an address'],
    [['--target', 'http://127.0.0.1:1/v1', '--dir', 'x'], 'paths pass through'],
    [['--target', '127.0.0.1:1', '--dir', 'x', '--max-disk', 'much'], '--max-disk: "much"'],
    [['--target', '127.0.0.1:1', '--dir', 'x', '--proxy-niceness', '-21'], '--proxy-niceness: "-21"'],
    [['--target', '127.0.0.1:1', '--dir', 'x', '--recorder-niceness', '-1'], '--recorder-niceness: "-1"'],
    [['--dir', 'x'], '--target'],
  ])('%j: one clear error and exit 2', async (flags, text) => {
    const { status, stderr } = await runCommand(['record', ...flags]);
    expect(stderr).toContain(text);
    expect(status).toBe(2);
  });

  it('says which port is busy and exits 2', async () => {
    const flags = ['--target', '127.0.0.1:1', '--listen', `127.0.0.1:${origin.port}`];
    const { status, stderr } = await runCommand(['record', ...flags, '--dir', `${temporaryDirectory()}/c`]);
    expect(stderr).toContain(`cannot listen on 127.0.0.1:${origin.port}: the port is in use`);
    expect(status).toBe(2);
  });
});
