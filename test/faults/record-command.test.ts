import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { inspect } from '../../src/app/inspect.ts';
import { ServedCommand } from '../../src/app/recording/served-command.ts';
import { systemClock } from '../../src/core/clock.ts';
import { listenersBelow } from '../../src/monitors/process-tree.ts';
import { parseEndpoint } from '../../src/proxy/net/endpoint.ts';
import { freePort } from '../support/free-port.ts';
import { atFileEnd } from '../support/leftovers.ts';
import { type RunningProcess, startReprise } from '../support/process.ts';
import { accountOf } from '../support/recording.ts';
import { repositoryRoot } from '../support/shared-data.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

const QUICK = ['--probe-listen', 'off', '--drain-delay', '0s', '--drain-deadline', '2s'];

/** Starts `reprise record FLAGS -- COMMAND`. */
function startRecord(flags: readonly string[], command: readonly string[]): RunningProcess {
  return startReprise(['--log-format', 'json', 'record', ...QUICK, ...flags, '--', ...command]);
}

/** Waits until it forwards. @returns the address for clients, and the process id of the server */
async function forwarding(process: RunningProcess): Promise<{ url: string; serverPid: number }> {
  const [, pid] = await process.waitFor('stderr', /"pid":(\d+),"target":"[^"]*","message":"[^"]* listens;/);
  atFileEnd(() => {
    if (isAlive(Number(pid))) global.process.kill(Number(pid), 'SIGKILL');
  });
  const [, listen] = await process.waitFor('stderr', /"listen":"([^"]*)"/);
  await process.waitFor('stderr', /"state":"HEALTHY"/);
  return { url: `http://${listen}`, serverPid: Number(pid) };
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** A server on these ports as a command; `/end` ends it with status 7. It reports SIGTERM and exits with 3. */
function serverOn(...ports: readonly number[]): string[] {
  const program = `
    const { createServer } = require('node:http');
    const answer = (request, response) => response.end('ok', () => request.url === '/end' && process.exit(7));
    for (const port of ${JSON.stringify(ports)}) createServer(answer).listen(port, '127.0.0.1');
    process.on('SIGTERM', () => { process.stderr.write('server: SIGTERM\\n'); process.exit(3); });
    process.on('SIGUSR1', () => process.stderr.write('server: SIGUSR1\\n'));
  `;
  return [process.execPath, '-e', program];
}

describe('reprise record -- COMMAND', () => {
  test.each([
    ['python3 -m http.server', (port: number) => ['python3', '-m', 'http.server', String(port)], '/', 143],
    [
      'the model server',
      (port: number) => [
        process.execPath,
        join(repositoryRoot, 'fixtures/model-server/main.ts'),
        ...['--listen', `127.0.0.1:${port}`, '--zero-time'],
      ],
      '/v2/models/iris',
      0,
    ],
  ])('finds the port of %s, records it, and ends with its status', async (_, commandOn, path, status) => {
    const dir = join(temporaryDirectory(), 'capture');
    const port = await freePort();
    const process = startRecord(['--dir', dir], commandOn(port));
    const { url, serverPid } = await forwarding(process);
    expect(process.stderr).toContain(`"target":"127.0.0.1:${port}"`);
    await (await fetch(`${url}${path}`, { headers: { connection: 'close' } })).text();
    process.child.kill('SIGTERM');
    expect((await process.finished).status).toBe(status);
    expect(isAlive(serverPid)).toBe(false);
    expect(inspect([dir])).toMatchObject({ exchanges: 1 });
  });

  test('seals the recording before the server gets the signal, and passes on other signals', async () => {
    const process = startRecord(
      ['--dir', temporaryDirectory(), '--listen', '127.0.0.1:0'],
      serverOn(await freePort()),
    );
    await forwarding(process);
    process.child.kill('SIGUSR1');
    await process.waitFor('stderr', /server: SIGUSR1/);
    process.child.kill('SIGTERM');
    const { status, stderr } = await process.finished;
    expect(status).toBe(3);
    expect(stderr.indexOf('server: SIGTERM')).toBeGreaterThan(stderr.indexOf('"message":"stopped"'));
  });

  test('ends with a server that ends, and has recorded what it answered', async () => {
    const dir = join(temporaryDirectory(), 'capture');
    const process = startRecord(['--dir', dir, '--listen', '127.0.0.1:0'], serverOn(await freePort()));
    const { url } = await forwarding(process);
    await fetch(`${url}/end`).then((response) => response.text());
    const { status, end } = await accountOf(process);
    expect(status).toBe(7);
    expect(end).toMatchObject({ message: 'stopped', exchanges: 1 });
  });

  test('leaves the server alone if the recorder dies', async () => {
    const process = startRecord(
      ['--dir', temporaryDirectory(), '--listen', '127.0.0.1:0'],
      serverOn(await freePort()),
    );
    const { url, serverPid } = await forwarding(process);
    const [, recorder] = await process.waitFor('stderr', /"pid":(\d+),"message":"recorder started"/);
    global.process.kill(Number(recorder), 'SIGKILL');
    await process.waitFor('stderr', /"state":"SHEDDING"/);
    expect(await fetch(url).then((response) => response.text())).toBe('ok');
    expect(isAlive(serverPid)).toBe(true);
    process.child.kill('SIGTERM');
    expect((await process.finished).status).toBe(3);
  });

  test('of several ports asks for one, and takes the one that is named', async () => {
    const ports = [await freePort(), await freePort()].sort((one, other) => one - other);
    const dir = join(temporaryDirectory(), 'capture');
    const refused = await startRecord(['--dir', dir], serverOn(...ports)).finished;
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain(`several ports: ${ports.join(', ')}`);
    expect(refused.stderr).toContain(`--target 127.0.0.1:${ports[0]}`);
    expect(refused.stderr).toContain('server: SIGTERM');
    expect(existsSync(dir)).toBe(false);
    const target = `127.0.0.1:${ports[1]}`;
    const process = startRecord(
      ['--dir', dir, '--listen', '127.0.0.1:0', '--target', target],
      serverOn(...ports),
    );
    await forwarding(process);
    expect(process.stderr).toContain(`"target":"${target}"`);
    process.child.kill('SIGTERM');
    expect((await process.finished).status).toBe(3);
  });

  test('passes over a port of gRPC that opens long before the one of HTTP', async () => {
    const [grpc, http] = [await freePort(), await freePort()];
    // An HTTP/2 server ends a connection that begins with HTTP/1.1; the last one answers nothing.
    const program = `
      const { createServer } = require('node:net');
      createServer((socket) => socket.once('data', () => socket.end(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])))).listen(${grpc}, '127.0.0.1');
      createServer((socket) => socket.resume()).listen(${await freePort()}, '127.0.0.1');
      const answer = (_, response) => response.end('ok');
      setTimeout(() => require('node:http').createServer(answer).listen(${http}, '127.0.0.1'), 1500);`;
    const process = startRecord(
      ['--dir', temporaryDirectory(), '--listen', '127.0.0.1:0'],
      [global.process.execPath, '-e', program],
    );
    const { url } = await forwarding(process);
    expect(process.stderr).toContain(`"target":"127.0.0.1:${http}"`);
    expect(await fetch(url).then((response) => response.text())).toBe('ok');
    process.child.kill('SIGTERM');
    await process.finished;
  });

  test('takes the default address of clients for that of the server, and finds another for clients', async () => {
    const flags = ['--dir', join(temporaryDirectory(), 'capture'), '--target', '127.0.0.1:8080'];
    const { status, stderr } = await startRecord(flags, ['sh', '-c', 'echo ran >&2; exit 9']).finished;
    expect(stderr).toContain('ran');
    expect(status).not.toBe(2);
  });

  test.each([
    ['a server that ends before it listens', [], ['sh', '-c', 'exit 9'], 5],
    ['a program that does not exist', [], ['/none/such', 'x'], 2],
    ['an address that no client can reach', ['--listen', '127.0.0.1'], ['sh', '-c', 'echo ran'], 2],
    ['a target that is no address', ['--target', 'a b'], ['sh', '-c', 'echo ran'], 2],
  ])('refuses %s, and writes nothing', async (_, flags, command, status) => {
    const dir = join(temporaryDirectory(), 'capture');
    const finished = await startRecord(['--dir', dir, ...flags], command).finished;
    expect(finished).toMatchObject({ status, stdout: '' });
    expect(finished.stderr).toMatch(/\n {2}hint: \S/);
    expect(existsSync(dir)).toBe(false);
  });
});

describe('a served command', () => {
  const never = new Promise<never>(() => undefined);
  const idle = [process.execPath, '-e', 'setInterval(() => {}, 1000)'];

  test('that never listens is an error after its time, and ends with what it started', async () => {
    const served = await ServedCommand.start(['sh', '-c', '"$0" "$@" & wait', ...idle], {
      clock: systemClock,
      listensMs: 300,
    });
    await expect(served.targets([], never)).rejects.toMatchObject({ code: 'TARGET_UNREACHABLE' });
    const dead = parseEndpoint('127.0.0.1:1', '');
    await expect(served.targets([dead], never)).rejects.toMatchObject({ code: 'TARGET_UNREACHABLE' });
    await served.end();
    await served.ended;
    while (isAlive(-served.pid)) await sleep(10);
  });

  test('that answers no HTTP is an error that names its port', async () => {
    const port = await freePort();
    const program = `require('node:net').createServer((socket) => socket.end('220 ready')).listen(${port}, '127.0.0.1')`;
    const served = await ServedCommand.start([process.execPath, '-e', program], {
      clock: systemClock,
      listensMs: 2_500,
    });
    const refused = expect(served.targets([], never)).rejects;
    await refused.toMatchObject({
      code: 'TARGET_UNREACHABLE',
      message: expect.stringContaining(`port ${port} `),
    });
    await served.end();
  });

  test('that never answered its first connection was never found', async () => {
    const port = await freePort();
    const program = `let connections = 0;
      require('node:net').createServer((socket) => {
        if (connections++ > 0) socket.end('HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n');
      }).listen(${port}, '127.0.0.1')`;
    const served = await ServedCommand.start([process.execPath, '-e', program], { clock: systemClock });
    expect(await served.targets([], never)).toMatchObject([{ host: '127.0.0.1', port }]);
    await served.end();
  });

  test('that is stopped before it listens has no target', async () => {
    const served = await ServedCommand.start(idle, { clock: systemClock });
    expect(await served.targets([], Promise.resolve())).toBeNull();
    served.pass('SIGINT');
    expect(await served.ended).toBe(130);
  });

  test('listens where its descendants do, on any kind of address', async () => {
    const [first, second, third] = [await freePort(), await freePort(), await freePort()];
    const program = `const { createServer } = require('node:net');
      createServer().listen(${first}, '0.0.0.0');
      createServer().listen(${second}, '127.0.0.2');
      createServer().listen({ port: ${third}, host: '::ffff:127.0.0.1' });`;
    const command = ['sh', '-c', '"$0" "$@"; exit', process.execPath, '-e', program];
    const served = await ServedCommand.start(command, { clock: systemClock });
    const expected = [
      { host: '0.0.0.0', port: first },
      { host: '127.0.0.2', port: second },
      { host: '127.0.0.1', port: third },
    ].sort((one, other) => one.port - other.port);
    while ((await listenersBelow(served.pid)).length < 3) await sleep(20);
    expect(await listenersBelow(served.pid)).toEqual(expected);
    await served.end();
  });
});
