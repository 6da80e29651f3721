import { mkdirSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setImmediate as nextTick, setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { untilStatus } from '../support/control.ts';
import { filesBelow, findSecrets, type Haystack, payloadsOf } from '../support/leak-search.ts';
import { LEAK_FLAGS, type PlantedExchange, plantedExchanges } from '../support/planted-secrets.ts';
import { type RecordingProcess, startRecording } from '../support/recording.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const SEED = 20_261_124;
const OPEN = Buffer.from('in-the-open');
const COMMIT_MS = 600;
const ANSWER_MS = 2_000;

/** An origin that answers each request with what its exchange says, and closes. */
class PlantedOrigin {
  current: PlantedExchange | null = null;
  readonly #server: Server = createServer((request) => {
    request.resume();
    request.on('end', () => this.#answer(request.socket));
  });

  async listen(): Promise<number> {
    this.#server.on('upgrade', ({ socket }) => this.#answer(socket));
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(socket: Socket): void {
    socket.on('error', () => {});
    socket.end(this.current?.answer ?? Buffer.alloc(0));
  }
}

let origin: PlantedOrigin;
afterEach(() => origin.close());

/** One exchange on a connection of its own, its pieces sent one by one. @returns whether it was answered */
async function exchangeOver(port: number, exchange: PlantedExchange): Promise<boolean> {
  origin.current = exchange;
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    // A gateway would keep the connection, whatever its server does with its own.
    if (isWhole(Buffer.concat(chunks).toString('latin1'))) socket.end();
  });
  const closed = new Promise<void>((resolve) => {
    socket.on('error', () => {});
    socket.on('close', () => resolve());
  });
  for (const piece of exchange.request) {
    socket.write(piece);
    await nextTick();
  }
  if (exchange.leaves) {
    await sleep(20);
    socket.destroy();
  }
  const timeout = setTimeout(() => socket.destroy(), ANSWER_MS);
  await closed;
  clearTimeout(timeout);
  return Buffer.concat(chunks).toString('latin1').startsWith('HTTP/1.1 ');
}

/** Whether a response is there to its last byte; every one here states its length. */
function isWhole(text: string): boolean {
  const headEnd = text.indexOf('\r\n\r\n');
  const length = Number(/^content-length: *(\d+)/im.exec(text)?.[1] ?? Number.NaN);
  return headEnd >= 0 && text.length >= headEnd + 4 + length;
}

/** Until what has passed is in a file, however slow the disk: what is not is no haystack. */
async function committed(directory: string): Promise<void> {
  await sleep(COMMIT_MS);
  await untilStatus(directory, ({ pending }) => pending.turns === 0);
}

async function killed(recording: RecordingProcess): Promise<void> {
  const { proxy: forwarder, recorder } = recording.children();
  for (const pid of [recorder, forwarder]) process.kill(pid, 'SIGKILL');
  await recording.process.kill('SIGKILL');
}

/** A recording of all planted exchanges, killed halfway and begun again; what it left, and what it said. */
async function recorded(flags: readonly string[], exchanges: readonly PlantedExchange[]) {
  origin = new PlantedOrigin();
  const target = await origin.listen();
  const root = temporaryDirectory();
  for (const name of ['cwd', 'tmp']) mkdirSync(join(root, name));
  const directory = join(root, 'capture');
  const options = { cwd: join(root, 'cwd'), env: { TMPDIR: join(root, 'tmp') } };
  const start = () =>
    startRecording(target, directory, ['--probe-listen', 'off', '--drain-delay', '0s', ...flags], options);
  const said: Haystack[] = [];
  const note = ({ process: { stdout, stderr } }: RecordingProcess) =>
    said.push({ name: 'what was printed', bytes: Buffer.from(stdout + stderr) });
  let answered = 0;
  const play = async (recording: RecordingProcess, half: readonly PlantedExchange[]) => {
    for (const exchange of half) if (await exchangeOver(recording.port, exchange)) answered += 1;
  };

  // Every second one, so that both halves have some of each kind.
  const [first, second] = [0, 1].map((rest) => exchanges.filter((_, index) => index % 2 === rest));
  const before = await start();
  await play(before, first as PlantedExchange[]);
  await committed(directory);
  const open = connect({ port: before.port, host: '127.0.0.1' }).on('error', () => {});
  for (const piece of exchanges.find(({ leaves }) => leaves)?.request ?? []) open.write(piece);
  await sleep(50);
  await killed(before);
  note(before);
  const afterKill = filesBelow(root);

  const after = await start();
  const quarter = Math.floor((second as PlantedExchange[]).length / 2);
  await play(after, (second as PlantedExchange[]).slice(0, quarter));
  await committed(directory);
  process.kill(after.children().recorder, 'SIGKILL');
  await after.process.waitFor('stderr', /recorder started.*recorder started/s);
  await untilStatus(directory, ({ state, restarts }) => state === 'HEALTHY' && restarts.recorder === 1);
  await play(after, (second as PlantedExchange[]).slice(quarter));
  const { status } = await after.stop();
  note(after);
  expect(status).toBe(0);
  return {
    answered,
    directory,
    haystacks: [...said, ...afterKill, ...filesBelow(root), ...payloadsOf(directory)],
  };
}

/** Payloads that show what nobody hid: the search does see what was recorded. */
function inTheOpen(haystacks: readonly Haystack[]): number {
  return haystacks.filter(
    ({ name, bytes }) => name.endsWith('request head') && Buffer.from(bytes).includes(OPEN),
  ).length;
}

const exchanges = plantedExchanges(SEED);
const secrets = exchanges.flatMap((exchange) => exchange.secrets);

describe('200 planted secrets', () => {
  it.each(['wire', 'gateway'])('leave nothing behind in any file of the %s plane', async (mode) => {
    expect(new Set(secrets).size).toBe(200);
    const planes = mode === 'gateway' ? ['--mode', 'gateway', '--websocket'] : [];
    const { answered, haystacks } = await recorded([...LEAK_FLAGS, ...planes], exchanges);
    expect(answered).toBeGreaterThan(190);
    expect(inTheOpen(haystacks)).toBeGreaterThan(150);
    expect(haystacks.some(({ name }) => name.endsWith('-wal'))).toBe(true);
    expect(findSecrets(secrets, haystacks)).toEqual([]);
  });

  it('are found, where no rule is given, in just the bodies that rules would have covered', async () => {
    const kinds = [
      'nested JSON',
      'base64 in JSON',
      'coded JSON',
      'chunked JSON',
      'JSON answer',
      'header',
      'cookie',
    ];
    const some = exchanges.filter(({ kind }) => kinds.includes(kind));
    const { haystacks } = await recorded(['--bodies', 'all'], some);
    const found = findSecrets(
      some.flatMap((exchange) => exchange.secrets),
      haystacks,
    );
    const leaked = some.filter((exchange) =>
      found.some((line) => line.startsWith(exchange.secrets[0] ?? '')),
    );
    expect(new Set(leaked.map(({ kind }) => kind))).toEqual(new Set(kinds.slice(0, 5)));
    expect(leaked.length).toBeGreaterThan(55);
  });
});
