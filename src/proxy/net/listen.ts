import { once } from 'node:events';
import { accessSync, chmodSync, constants, lstatSync, renameSync, rmSync, statSync } from 'node:fs';
import { createServer, type ListenOptions, type Server } from 'node:net';
import { dirname } from 'node:path';
import { AppError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { type Endpoint, formatEndpoint, isAnswered } from './endpoint.ts';

/** Who may connect to a unix socket of ours: the owner and the group, which is how containers share one. */
const SOCKET_MODE = 0o660;
/** Behind the path under which a socket is made before it takes its place. */
const UNFINISHED = '.new';

export interface Listening {
  /** What was bound: the port is known now. */
  readonly endpoint: Endpoint;
  /** Takes the file of a unix socket away, unless it is another's by now. */
  remove(): void;
}

/**
 * Starts to listen. The file of a unix socket whose process is gone is replaced; one that is answered is not.
 * @param mode of the file of a unix socket
 * @throws AppError LISTEN_FAILED
 */
export async function listenOn(server: Server, endpoint: Endpoint, mode = SOCKET_MODE): Promise<Listening> {
  if (endpoint.kind === 'unix') return await listenOnPath(server, endpoint, mode);
  await listening(server, endpoint, placeOf(endpoint));
  const bound = server.address();
  const known = bound !== null && typeof bound === 'object' ? { host: bound.address, port: bound.port } : {};
  return { endpoint: { ...endpoint, ...known }, remove: () => undefined };
}

/**
 * As Node takes it. Every address is what it takes where none is named; told to take `::`, it would fail on a host
 * whose kernel has no IPv6.
 */
export function placeOf({ host, port }: { host: string; port: number }): { host?: string; port: number } {
  return host === '::' ? { port } : { host, port };
}

/**
 * The socket is made under another name and renamed, so that whoever connects finds the old one, or nothing, or
 * the new one with its mode: never half of it. It also keeps Node from removing a successor's file on close.
 */
async function listenOnPath(
  server: Server,
  endpoint: { kind: 'unix'; path: string },
  mode: number,
): Promise<Listening> {
  const { path } = endpoint;
  const unfinished = `${path}${UNFINISHED}`;
  await mustHaveRoom(endpoint);
  rmSync(unfinished, { force: true });
  await listening(server, endpoint, { path: unfinished });
  try {
    chmodSync(unfinished, mode);
    renameSync(unfinished, path);
  } catch (error) {
    server.close();
    throw listenError(endpoint, error as NodeJS.ErrnoException);
  }
  const inode = lstatSync(path).ino;
  const remove = () => {
    if (lstatSync(path, { throwIfNoEntry: false })?.ino === inode) rmSync(path, { force: true });
  };
  return { endpoint, remove };
}

/**
 * Makes sure that a socket may be made at a path. Nothing is there, or the socket of a process that is gone.
 * @throws AppError LISTEN_FAILED
 */
async function mustHaveRoom(endpoint: { kind: 'unix'; path: string }): Promise<void> {
  const refusal = await refusalAt(endpoint.path).catch((error: unknown) => error);
  if (refusal !== null) throw listenError(endpoint, refusal as NodeJS.ErrnoException);
}

function listening(server: Server, endpoint: Endpoint, where: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException) => reject(listenError(endpoint, error));
    server.once('error', refuse);
    server.listen({ ...where, backlog: LIMITS.listenBacklog }, () => {
      server.off('error', refuse);
      resolve();
    });
  });
}

/**
 * Finds out what lies at a path: nothing and a dead process's socket may be replaced, which is null.
 * @throws what the file system says
 */
async function refusalAt(path: string): Promise<{ code: string } | null> {
  // Node would call a directory that is missing one that this user may not enter.
  statSync(dirname(path));
  accessSync(dirname(path), constants.W_OK | constants.X_OK);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return null;
  if (!found.isSocket()) return { code: 'ENOTSOCK' };
  return (await isAnswered(path)) ? { code: 'EADDRINUSE' } : null;
}

const REASONS: Readonly<Record<string, readonly [reason: string, hint: string]>> = {
  EADDRINUSE: ['the port is in use', 'Stop the process that uses it, or give another --listen.'],
  EACCES: ['this user may not listen there', 'Ports below 1024 need privileges; give a higher port.'],
  EADDRNOTAVAIL: ['this host has no such address', 'Give an address of this host, or only a port (:8080).'],
  ENOTFOUND: ['the name is not known', 'Give an address of this host, or only a port (:8080).'],
};

const UNIX_REASONS: Readonly<Record<string, readonly [reason: string, hint: string]>> = {
  EADDRINUSE: ['another process listens there', 'Stop it, or give another path.'],
  EACCES: ['this user may not create a file there', 'Give a directory that this user may write to.'],
  ENOENT: ['its directory does not exist', 'Create the directory first.'],
  ENOTSOCK: ['a file that is not a socket exists there', 'Remove it yourself, or give another path.'],
  EROFS: ['the file system is read-only', 'Give a directory that this user may write to.'],
};

function listenError(endpoint: Endpoint, error: NodeJS.ErrnoException): AppError {
  const known = (endpoint.kind === 'unix' ? UNIX_REASONS : REASONS)[error.code ?? ''];
  const [reason, hint] = known ?? [error.message, 'Give another --listen.'];
  const where = formatEndpoint(endpoint);
  return new AppError('LISTEN_FAILED', `cannot listen on ${where}: ${reason}`, { hint, cause: error });
}

/**
 * Makes sure that an address could be listened on now, and leaves it as it is.
 * @throws AppError LISTEN_FAILED
 */
export async function mustBeFree(endpoint: Endpoint): Promise<void> {
  if (endpoint.kind === 'unix') {
    await mustHaveRoom(endpoint);
    return;
  }
  if (endpoint.port === 0) return;
  const server = createServer((socket) => socket.destroy());
  await listenOn(server, endpoint);
  server.close();
  await once(server, 'close');
}
