// First: the program that follows finds its `process` there.
import './node/process.ts'
import './page-buffer.ts'
import '../worker/process.ts'
