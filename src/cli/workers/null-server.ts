import type { AddressInfo } from 'node:net';
import { createNullGrpcServer, createNullServer } from '../../replay/engine/rehearsal.ts';

/** The target of a selftest, in a separate process. It ends with its parent process. */
const server = process.argv[2] === 'grpc' ? createNullGrpcServer() : createNullServer();
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit(0));
// Ctrl-C reaches the whole process group. It is ignored here, because the selftest ends this process itself.
for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => {});
