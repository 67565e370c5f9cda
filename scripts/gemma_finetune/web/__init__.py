"""Chat in a browser: a static page that runs a .litertlm on LiteRT-LM, compiled to WebAssembly"""
