// First: the program that follows finds its `process` there.
import './node/process.ts'
import './node/globals.ts'
import '../worker/process.ts'
