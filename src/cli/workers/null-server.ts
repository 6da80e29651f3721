import type { AddressInfo } from 'node:net';
import { createNullServer } from '../../replay/engine/rehearsal.ts';

/** The target of a selftest, in a process of its own. It ends with its parent process. */
const server = createNullServer();
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit(0));
// A Ctrl-C reaches the whole group: the selftest ends this process when it has come to its own end.
for (const name of ['SIGINT', 'SIGTERM']) process.on(name, () => {});
