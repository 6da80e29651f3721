import { testWriterFaults } from './writer-fault-cases.ts';

testWriterFaults([]);
