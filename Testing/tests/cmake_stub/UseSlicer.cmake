# The macros a scripted extension calls.
option(BUILD_TESTING "Build the tests" ON)
enable_testing()

# Copies scripts and resources, at the same relative paths, to the folder of scripted modules of the build tree, or
# below it to one named like the source folder (WITH_SUBDIR), and installs what is there.
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(_module "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(_module_UNPARSED_ARGUMENTS OR NOT _module_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: no NAME, or unknown words: ${_module_UNPARSED_ARGUMENTS}")
  endif()

  set(_module_folder ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
  set(_module_install ${_module_folder}/)
  if(_module_WITH_SUBDIR)
    get_filename_component(_module_subdir ${CMAKE_CURRENT_SOURCE_DIR} NAME)
    set(_module_folder ${_module_folder}/${_module_subdir})
    set(_module_install ${_module_folder})
  endif()

  set(_module_copies)
  foreach(_module_file IN LISTS _module_SCRIPTS _module_RESOURCES)
    set(_module_source ${CMAKE_CURRENT_SOURCE_DIR}/${_module_file})
    if(NOT EXISTS ${_module_source} OR "${_module_file}" MATCHES "\\.\\./")
      message(FATAL_ERROR "${_module_NAME}: ${_module_file} does not exist, or leaves its folder")
    endif()
    add_custom_command(
      OUTPUT ${_module_folder}/${_module_file}
      COMMAND ${CMAKE_COMMAND} -E copy ${_module_source} ${_module_folder}/${_module_file}
      DEPENDS ${_module_source}
      )
    list(APPEND _module_copies ${_module_folder}/${_module_file})
  endforeach()
  add_custom_target(Copy${_module_NAME} ALL DEPENDS ${_module_copies})
  install(DIRECTORY ${_module_install}
    DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    COMPONENT RuntimeLibraries
    USE_SOURCE_PERMISSIONS
    )

  if(BUILD_TESTING AND _module_WITH_GENERIC_TESTS)
    add_test(NAME py_nomainwindow_qSlicer${_module_NAME}ModuleGenericTest COMMAND ${CMAKE_COMMAND} -E true)
  endif()
endmacro()

# Registers a unittest by the script's bare name: with a folder before it, Slicer would look in the wrong place.
macro(slicer_add_python_unittest)
  cmake_parse_arguments(_test "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${_test_SCRIPT} OR "${_test_SCRIPT}" MATCHES "/")
    message(FATAL_ERROR "slicer_add_python_unittest: ${_test_SCRIPT} is no file of ${CMAKE_CURRENT_SOURCE_DIR}")
  endif()
  get_filename_component(_test_name ${_test_SCRIPT} NAME_WE)
  add_test(NAME py_${_test_TESTNAME_PREFIX}${_test_name} COMMAND ${CMAKE_COMMAND} -E true)
endmacro()
