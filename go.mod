module ringfence.dev/ringfence

go 1.26
