import { once } from 'node:events';
import { accessSync, chmodSync, constants, lstatSync, renameSync, rmSync, statSync } from 'node:fs';
import { createServer, type ListenOptions, type Server } from 'node:net';
import { dirname } from 'node:path';
import { AppError } from '../../core/errors.ts';
import { LIMITS } from '../../core/limits.ts';
import { type Endpoint, formatEndpoint, isAnswered } from './endpoint.ts';

/** Owner and group may connect to our unix sockets. Containers share a socket through the group. */
const SOCKET_MODE = 0o660;
/** Suffix of the path where a socket is created before it is renamed. */
const UNFINISHED = '.new';

export interface Listening {
  /** The bound address with its actual port. */
  readonly endpoint: Endpoint;
  /** Removes the file of a unix socket, unless another process has replaced it. */
  remove(): void;
}

/**
 * Starts to listen. The file of a unix socket is replaced only if its process is gone.
 * @param mode file mode of a unix socket
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
 * The address in Node's form. Without a host, Node listens on every address. With `::`, it would fail if the kernel has
 * no IPv6.
 */
export function placeOf({ host, port }: { host: string; port: number }): { host?: string; port: number } {
  return host === '::' ? { port } : { host, port };
}

/**
 * Creates the socket under another name and renames it. So a client finds the old socket, none, or the new one with its
 * mode, but never an unfinished one. The rename also keeps Node from removing a successor's file on close.
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
 * Makes sure that a socket may be created at a path: nothing is there, or the socket of a process that is gone.
 * @throws AppError LISTEN_FAILED
 */
async function mustHaveRoom(endpoint: { kind: 'unix'; path: string }): Promise<void> {
  const refusal = await refusalAt(endpoint.path).catch((error: unknown) => error);
  if (refusal !== null) throw listenError(endpoint, refusal as NodeJS.ErrnoException);
}

async function listening(server: Server, endpoint: Endpoint, where: ListenOptions): Promise<void> {
  const bound = once(server, 'listening');
  server.listen({ ...where, backlog: LIMITS.listenBacklog });
  try {
    await bound;
  } catch (error) {
    throw listenError(endpoint, error as NodeJS.ErrnoException);
  }
}

/**
 * Why a socket cannot be created at a path. Null if nothing is there, or the socket of a process that is gone.
 * @throws the file system's error
 */
async function refusalAt(path: string): Promise<{ code: string } | null> {
  // Checked here, because Node would report a missing directory as one that this user may not enter.
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
 * Makes sure that one could listen on an address now, and leaves it free.
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
