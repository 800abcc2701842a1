#!/usr/bin/env bash
# build.sh DIR builds llama.cpp's server and two tiny models in DIR, unless they are
# there. The source of llama.cpp is a git bundle in the npm package node-llama-cpp.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"

package=node-llama-cpp@3.22.1
python=${PYTHON:-/usr/bin/python3} # the one that has Debian's python3-numpy

for tool in npm git cmake ninja g++ "$python"; do
	command -v "$tool" >/dev/null || { echo "test-llama needs $tool: apt-get install npm git cmake ninja-build g++ python3-numpy" >&2; exit 1; }
done

if [ ! -x llama-server ]; then
	if [ ! -d src ]; then # a build that was cut goes on
		rm -rf package src.tmp
		npm pack --silent "$package" >/dev/null
		tar xzf node-llama-cpp-*.tgz package/llama/gitRelease.bundle
		git -c advice.detachedHead=false clone --quiet package/llama/gitRelease.bundle src.tmp
		rm -rf package node-llama-cpp-*.tgz
		mv src.tmp src
	fi
	cmake -G Ninja -S src -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF \
		-DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
		-DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF >cmake.log
	nice -n 19 ninja -C build -j "${LLAMA_JOBS:-1}" llama-server
	install -s build/bin/llama-server llama-server
	rm -rf build
fi

model() { # NAME CHAIN [tools]
	[ -s "$1.gguf" ] && return
	"$python" "$here/mkgguf.py" src/gguf-py src/models/ggml-vocab-gpt-2.gguf "$1.tmp" src/models/templates/Qwen-Qwen2.5-7B-Instruct.jinja "${@:2}"
	mv "$1.tmp" "$1.gguf"
}
model chat 'Ċ Hello Ġfrom Ġa Ġtiny Ġreal Ġmodel . EOS'
model tools 'Ċ < tool _ call > Ċ' tools
